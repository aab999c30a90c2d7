"""Batches of images with labels: what serves as a loader, and our own, which yields the same order every time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from secateur.core.errors import DataError
from secateur.core.model_inputs import samples_of
from secateur.pipeline.data.images import Images
from secateur.pipeline.data.transform import Transform

CACHE_BYTES = 64 << 20
"""What the pixels that a loader keeps take at most: as many as 445 images of 3 x 224 x 224 in eight bits."""
Batch = tuple[Any, Any]
Batches = Iterable[Batch]
"""What serves as a loader: anything that yields (images, labels) as often as it is asked, in batches.

Of a model of several inputs, the images are a tuple or a dictionary of them (`ModelInputs`).

A `Loader`, a `torch.utils.data.DataLoader`, or a plain list of pairs. `any_batches` checks what a user hands in.
"""


def any_batches(loader: Iterable[Any], classes: bool | None = True, unlabelled: bool = False) -> Batches:
    """The same batches, each checked when it is read: images `[B, ...]` of floats, labels `[B]` of integers.

    A tuple or a dictionary of several inputs may stand for the images, and None for labels where `unlabelled` allows
    it. Labels that are a list or an array become a tensor; where they need not be `classes`, they may be any numbers
    `[B, ...]`, and anything at all where that is None. Raises `DataError` for an iterator, which could be read only
    once, and for a batch that is something else, saying what it is.
    """
    if isinstance(loader, Loader | _AnyBatches):
        return loader
    if not hasattr(loader, "__iter__") and not hasattr(loader, "__getitem__"):
        raise DataError(f"a {type(loader).__name__} is no loader: give any iterable of (images, labels)")
    return _AnyBatches(loader, classes, unlabelled)


class _AnyBatches:
    """The checked batches of a user's loader."""

    def __init__(self, loader: Iterable[Any], classes: bool | None, unlabelled: bool) -> None:
        if iter(loader) is loader:
            raise DataError(
                f"a {type(loader).__name__} can be read only once, but the batches are needed several times: "
                "give list(...) of it, or a DataLoader"
            )
        self._loader = loader
        self._classes = classes
        self._unlabelled = unlabelled

    def __iter__(self) -> Iterator[Batch]:
        for number, batch in enumerate(self._loader):
            yield _pair(batch, f"batch {number}", self._classes, self._unlabelled)


def _pair(batch: Any, where: str, classes: bool | None, unlabelled: bool) -> Batch:
    """Images and labels of one batch; raises `DataError` naming `where` when it holds something else."""
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        what = f"{len(batch)} things" if isinstance(batch, tuple | list) else f"a {type(batch).__name__}"
        raise DataError(f"{where} of the loader is {what}, but a pair (images, labels) is needed")
    images, labels = batch
    if isinstance(images, tuple | list | Mapping) and images:
        samples = samples_of(images)
    elif isinstance(images, Tensor) and images.is_floating_point() and images.ndim > 1:
        samples = len(images)
    else:
        what = f"{images.dtype} {list(images.shape)}" if isinstance(images, Tensor) else f"a {type(images).__name__}"
        raise DataError(
            f"{where} of the loader has images that are {what}, but a floating-point tensor [batch, ...] is needed: "
            "apply the model's preprocessing (sc.transform_for) and stack the images"
        )
    if labels is None and unlabelled:
        return images, None
    if classes is None:
        return images, labels
    try:
        labels = torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{where} of the loader has labels that are no numbers ({error}): give class numbers"
        ) from error
    if len(labels.shape[:1]) and len(labels) != samples:
        raise DataError(f"{where} of the loader has {samples} images and {len(labels)} labels: give one each")
    if not classes and labels.ndim:
        return images, labels
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool or labels.ndim != 1:
        raise DataError(
            f"{where} of the loader has labels that are {labels.dtype} {list(labels.shape)}, but one class number for "
            "each image is needed, [batch] of integers"
        )
    return images, labels.long()


class Loader:
    """Yields `(images [B, C, H, W] float32, labels [B] int64)`, as often as it is asked, in the order of `indices`.

    Where something else than a class is true of an image, the labels are that: numbers or sets `[B, K]` float32, masks
    `[B, H, W]` int64, boxes `[B, most, 6]` float32 (see `data.truths`).

    The first batches are kept in memory once computed, as long as they take no more than `cache_bytes` together:
    scores and recovery pass over the same few images again and again. Of a `Transform` the pixels are kept as eight
    bits. Later batches are read again in each pass, so that memory does not grow with the number of images. What is
    yielded may be changed in place.
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
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        chosen = np.arange(len(images)) if indices is None else np.asarray(indices, dtype=np.int64)
        if batch_size < 1:
            raise DataError(f"the batch size is {batch_size}, but must be 1 or more")
        if not chosen.size:
            raise DataError("there are no images to load: give a source with images, or more of them")
        outside = chosen[(chosen < 0) | (chosen >= len(images))]
        if outside.size:
            raise DataError(f"image {outside[0]} was asked, but the images are 0 to {len(images) - 1}")
        if images.truths is not None and images.truths.in_place and not getattr(transform, "whole", False):
            raise DataError(
                "the labels of these images belong to places in them, but the preprocessing crops or moves them: "
                "give sc.transform_for(model, whole=True)"
            )
        self.images = images
        self.transform = transform
        self.batch_size = batch_size
        self.cache_bytes = cache_bytes
        self._indices = chosen
        self._eight_bits = transform if isinstance(transform, Transform) else None
        self._pixels = transform if self._eight_bits is None else self._eight_bits.eight_bits
        self._cache: dict[int, Batch] = {}
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
            pixels, labels = self._cache[number] if number in self._cache else self._read(number, part)
            yield (self._eight_bits.normalised(pixels) if self._eight_bits else pixels.clone()), labels.clone()

    def _read(self, number: int, part: NDArray[np.int64]) -> Batch:
        pixels = torch.stack([self._pixels(self.images.read(int(i))) for i in part])
        labels = torch.from_numpy(self.images.labels[part])
        if (truths := self.images.truths) is not None:
            height, width = pixels.shape[-2:]
            labels = torch.stack([truths.read(int(i), (height, width)) for i in part])
        held = (pixels,) if truths is None else (pixels, labels)  # class numbers take next to nothing
        size = sum(tensor.numel() * tensor.element_size() for tensor in held)
        if self._cached_bytes + size <= self.cache_bytes:
            self._cache[number] = pixels, labels
            self._cached_bytes += size
        return pixels, labels
