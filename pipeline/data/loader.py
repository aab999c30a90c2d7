"""Batches of images with labels: what serves as a loader, and our own, which yields the same order every time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from secateur.core.errors import DataError
from secateur.pipeline.data.images import Images

Batch = tuple[Tensor, Tensor]
Batches = Iterable[Batch]
"""What serves as a loader: anything that yields (images, labels) as often as it is asked, in batches.

A `Loader`, a `torch.utils.data.DataLoader`, or a plain list of pairs. `any_batches` checks what a user hands in.
"""


def any_batches(loader: Iterable[Any]) -> Batches:
    """The same batches, each checked when it is read: images `[B, ...]` of floats, labels `[B]` of integers.

    Labels that are a list or an array become a tensor. Raises `DataError` for an iterator, which could be read only
    once, and for a batch that is something else, saying what it is.
    """
    if isinstance(loader, Loader | _AnyBatches):
        return loader
    if not hasattr(loader, "__iter__") and not hasattr(loader, "__getitem__"):
        raise DataError(f"a {type(loader).__name__} is no loader: give any iterable of (images, labels)")
    return _AnyBatches(loader)


class _AnyBatches:
    """The checked batches of a user's loader."""

    def __init__(self, loader: Iterable[Any]) -> None:
        if iter(loader) is loader:
            raise DataError(
                f"a {type(loader).__name__} can be read only once, but the batches are needed several times: "
                "give list(...) of it, or a DataLoader"
            )
        self._loader = loader

    def __iter__(self) -> Iterator[Batch]:
        for number, batch in enumerate(self._loader):
            yield _pair(batch, f"batch {number}")


def _pair(batch: Any, where: str) -> Batch:
    """Images and labels of one batch; raises `DataError` naming `where` when it holds something else."""
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        what = f"{len(batch)} things" if isinstance(batch, tuple | list) else f"a {type(batch).__name__}"
        raise DataError(f"{where} of the loader is {what}, but a pair (images, labels) is needed")
    images, labels = batch
    if not isinstance(images, Tensor) or not images.is_floating_point() or images.ndim < 2:
        what = f"{images.dtype} {list(images.shape)}" if isinstance(images, Tensor) else f"a {type(images).__name__}"
        raise DataError(
            f"{where} of the loader has images that are {what}, but a floating-point tensor [batch, ...] is needed: "
            "apply the model's preprocessing (sc.transform_for) and stack the images"
        )
    try:
        labels = torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{where} of the loader has labels that are no numbers ({error}): give class numbers"
        ) from error
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool or labels.ndim != 1:
        raise DataError(
            f"{where} of the loader has labels that are {labels.dtype} {list(labels.shape)}, but one class number for "
            "each image is needed, [batch] of integers"
        )
    if len(labels) != len(images):
        raise DataError(f"{where} of the loader has {len(images)} images and {len(labels)} labels: give one each")
    return images, labels.long()


class Loader:
    """Yields `(images [B, C, H, W] float32, labels [B] int64)`, as often as it is asked, in the order of `indices`.

    The first batches are kept in memory once computed, as long as they take no more than `cache_bytes` together:
    scores and recovery pass over the same few images again and again. What is yielded may be changed in place.
    Raises `DataError` when there is nothing to load, or naming the image that cannot be read.

    >>> data = sc.open_data("digits")
    >>> images, labels = next(iter(sc.Loader(data.calibration, sc.transform_for(model), batch_size=8)))
    >>> images.shape, labels.dtype
    (torch.Size([8, 3, 16, 16]), torch.int64)
    """

    def __init__(
        self,
        images: Images,
        transform: Callable[[Image.Image], Tensor],
        batch_size: int = 32,
        indices: Sequence[int] | NDArray[np.int64] | None = None,
        cache_bytes: int = 1 << 30,
    ) -> None:
        chosen = np.arange(len(images)) if indices is None else np.asarray(indices, dtype=np.int64)
        if batch_size < 1:
            raise DataError(f"the batch size is {batch_size}, but must be 1 or more")
        if not chosen.size:
            raise DataError("there are no images to load: give a source with images, or more of them")
        outside = chosen[(chosen < 0) | (chosen >= len(images))]
        if outside.size:
            raise DataError(f"image {outside[0]} was asked, but the images are 0 to {len(images) - 1}")
        self.images = images
        self.transform = transform
        self.batch_size = batch_size
        self.cache_bytes = cache_bytes
        self._indices = chosen
        self._cache: dict[int, Tensor] = {}
        self._cached_bytes = 0

    @property
    def samples(self) -> int:
        """How many images one pass yields."""
        return len(self._indices)

    def __len__(self) -> int:
        return -(-self.samples // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for number in range(len(self)):
            part = self._indices[number * self.batch_size : (number + 1) * self.batch_size]
            yield self._pixels(number, part), torch.from_numpy(self.images.labels[part])

    def _pixels(self, number: int, part: NDArray[np.int64]) -> Tensor:
        if number in self._cache:
            return self._cache[number].clone()
        pixels = torch.stack([self.transform(self.images.read(int(i))) for i in part])
        size = pixels.numel() * pixels.element_size()
        if self._cached_bytes + size <= self.cache_bytes:
            self._cache[number] = pixels.clone()
            self._cached_bytes += size
        return pixels
