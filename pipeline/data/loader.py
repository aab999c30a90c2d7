"""Batches of transformed images, in the same order every time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from secateur.core.errors import DataError
from secateur.pipeline.data.images import Images

Batch = tuple[Tensor, Tensor]


class Loader:
    """Yields `(images [B, C, H, W] float32, labels [B] int64)`, as often as it is asked, in the order of `indices`.

    The first batches are kept in memory once computed, as long as they take no more than `cache_bytes` together:
    scores and recovery pass over the same few images again and again. What is yielded may be changed in place.
    Raises `DataError` when there is nothing to load, or naming the image that cannot be read.
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
