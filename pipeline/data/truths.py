"""What is true of each image where that is not one class: numbers, sets of labels, masks, boxes."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from secateur.core.errors import DataError

LabelKind = Literal["classes", "numbers", "sets", "masks", "boxes"]
"""The kinds of labels: a class, numbers, a set of classes, a class of each pixel, boxes with a class each."""
Indices = Sequence[int] | NDArray[np.int64]


class Truths(ABC):
    """What is true of each of N images, in their order.

    `strata` `[N]` int64 tells groups of images apart of which some are drawn each: what classes are otherwise.
    """

    in_place: ClassVar[bool] = False
    """Whether it is true of places in the picture, which may then be neither cropped nor moved."""

    def __init__(self, strata: NDArray[np.int64]) -> None:
        self.strata = np.asarray(strata, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.strata)

    @abstractmethod
    def read(self, i: int, size: tuple[int, int]) -> Tensor:
        """What is true of image `i` for an input of the `size` (H, W); of the same shape for all images."""

    @abstractmethod
    def content(self, i: int) -> bytes:
        """The bytes that decide what is true of image `i`."""

    @abstractmethod
    def subset(self, indices: Indices) -> Self:
        """Those of the images of these indices, in this order."""

    def digest(self, i: int) -> bytes:
        """The SHA-256 of what is true of image `i`."""
        return hashlib.sha256(self.content(i)).digest()


class Rows(Truths):
    """A row of numbers for each image: `values` `[N, K]` float32, read as `[K]`."""

    def __init__(self, values: NDArray[np.float32], strata: NDArray[np.int64]) -> None:
        super().__init__(strata)
        self.values = np.asarray(values, dtype=np.float32)

    def read(self, i: int, size: tuple[int, int]) -> Tensor:
        return torch.from_numpy(self.values[i].copy())

    def content(self, i: int) -> bytes:
        row: bytes = self.values[i].tobytes()
        return row

    def subset(self, indices: Indices) -> Self:
        chosen = np.asarray(indices, dtype=np.int64)
        return type(self)(self.values[chosen], self.strata[chosen])


def rarest(there: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each image the class, of those that it shows (`there` `[N, classes]`), which the fewest images show.

    Images that show none get the number of classes. Drawing some of each of these strata draws some of each class.
    """
    counts = np.where(there, there.sum(0, keepdims=True), np.iinfo(np.int64).max)
    padded = np.concatenate([counts, np.full((len(counts), 1), np.iinfo(np.int64).max - 1)], axis=1)
    places: NDArray[np.int64] = padded.argmin(1).astype(np.int64)
    return places


def class_list(folder: Path) -> tuple[str, ...]:
    """The names in the folder's `classes.txt`, one a line; none where there is no such file.

    Raises `DataError` for a name that comes twice and for a file without names.
    """
    path = folder / "classes.txt"
    if not path.is_file():
        return ()
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}; it must be text, a class in each line") from error
    if not names or len(set(names)) < len(names):
        what = f"{next(name for name in names if names.count(name) > 1)!r} twice" if names else "no class"
        raise DataError(f"{path} names {what}: give the name of each class once, one a line")
    return tuple(names)
