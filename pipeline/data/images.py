"""Labelled images: decoded one by one when they are read, hashed by content, cut into subsets by index."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from secateur.core.errors import DataError
from secateur.pipeline.data.bounds import check_sides
from secateur.pipeline.data.truths import Truths

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})
"""Endings of the files that count as images, in lower case."""
DAMAGE = (OSError, UnidentifiedImageError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
"""What Pillow raises of a file that is no picture, or claims too many pixels."""
MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})
"""Pillow's modes of pixels that become grey or RGB."""
HEAD = 4096
"""Bytes: one page, and more than the tables that every JPEG of one encoder begins with."""


class Images(ABC):
    """Images with one label each: `labels` is `[N]` int64, an index into `classes`.

    `numbered` is True where the source names no classes: they are then "0" to the highest label. Where something else
    than a class is true of an image, `truths` say what, `labels` are their strata, by which some are drawn, and
    `classes` name what they are about: the columns of numbers, or the classes of sets, masks and boxes.
    """

    def __init__(
        self, labels: NDArray[np.int64], classes: tuple[str, ...], numbered: bool, truths: Truths | None = None
    ) -> None:
        self.labels = np.asarray(labels if truths is None else truths.strata, dtype=np.int64)
        self.classes = classes
        self.numbered = numbered
        self.truths = truths

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def strata(self) -> int:
        """How many groups of images there are of which some are drawn each: the classes, or the strata of `truths`."""
        return len(self.classes) if self.truths is None else len(np.unique(self.labels))

    @abstractmethod
    def read(self, i: int) -> Image.Image:
        """Image `i`, decoded; raises `DataError` naming it when that is not possible."""

    @abstractmethod
    def content(self, i: int) -> bytes:
        """The bytes of image `i` as they are stored."""

    @abstractmethod
    def file(self, i: int) -> tuple[bytes, str]:
        """Image `i` as a file that any program opens, and the ending of its name; one in a file is that, untouched."""

    @abstractmethod
    def size(self, i: int) -> int:
        """How many bytes image `i` takes as it is stored; found without reading them."""

    def head(self, i: int) -> bytes:
        """The first `HEAD` bytes of image `i` as they are stored."""
        return self.content(i)[:HEAD]

    def digest(self, i: int) -> bytes:
        """The SHA-256 of image `i` as it is stored."""
        return hashlib.sha256(self.content(i)).digest()

    def name(self, i: int) -> str:
        """What to call image `i` in a message."""
        return f"image {i}"

    @abstractmethod
    def subset(self, indices: Sequence[int] | NDArray[np.int64]) -> Self:
        """The images of these indices, in this order, with the same classes."""

    @abstractmethod
    def relabelled(
        self, classes: tuple[str, ...], numbered: bool = False, labels: NDArray[np.int64] | None = None
    ) -> Self:
        """The same images with another list of classes, and with other labels if any are given."""

    def exclude(self, indices: Sequence[int] | NDArray[np.int64]) -> Self:
        """All images but those of these indices."""
        stays = np.ones(len(self), dtype=bool)
        stays[np.asarray(indices, dtype=np.int64)] = False
        return self.subset(np.flatnonzero(stays))

    def _truths(self, indices: NDArray[np.int64]) -> Truths | None:
        """What is true of the images of these indices."""
        return None if self.truths is None else self.truths.subset(indices)

    def fingerprint(self) -> str:
        """A SHA-256 over classes, labels and the images' stored bytes in order; independent of where they lie."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256("\n".join(self.classes).encode())
        for i, label in enumerate(self.labels):
            digest.update(int(label).to_bytes(8, "little"))
            digest.update(self.digest(i))
            if self.truths is not None:
                digest.update(self.truths.digest(i))
        return digest.hexdigest()


class ArrayImages(Images):
    """Images in memory: `pixels` is `[N, H, W]` (grey) or `[N, H, W, 3]` (RGB), uint8."""

    def __init__(
        self,
        pixels: NDArray[np.uint8],
        labels: NDArray[np.int64],
        classes: tuple[str, ...],
        numbered: bool = False,
        truths: Truths | None = None,
    ) -> None:
        super().__init__(labels, classes, numbered, truths)
        self.pixels = pixels

    def read(self, i: int) -> Image.Image:
        image = Image.fromarray(np.ascontiguousarray(self.pixels[i]))
        try:
            check_sides(image.width, image.height)
        except ValueError as error:
            raise DataError(f"cannot take image {i}: {error}; cut it or leave it out") from error
        return image

    def content(self, i: int) -> bytes:
        pixels: bytes = self.pixels[i].tobytes()
        return str(self.pixels.shape[1:]).encode() + pixels

    def file(self, i: int) -> tuple[bytes, str]:
        held = BytesIO()
        self.read(i).save(held, format="PNG")
        return held.getvalue(), ".png"

    def size(self, i: int) -> int:
        return int(self.pixels[i].nbytes)

    def subset(self, indices: Sequence[int] | NDArray[np.int64]) -> Self:
        chosen = np.asarray(indices, dtype=np.int64)
        return type(self)(self.pixels[chosen], self.labels[chosen], self.classes, self.numbered, self._truths(chosen))

    def relabelled(
        self, classes: tuple[str, ...], numbered: bool = False, labels: NDArray[np.int64] | None = None
    ) -> Self:
        return type(self)(self.pixels, self.labels if labels is None else labels, classes, numbered, self.truths)


class FileImages(Images):
    """Images in files, decoded when they are read."""

    def __init__(
        self,
        paths: Sequence[Path],
        labels: NDArray[np.int64],
        classes: tuple[str, ...],
        numbered: bool = False,
        truths: Truths | None = None,
    ) -> None:
        super().__init__(labels, classes, numbered, truths)
        self.paths = tuple(paths)

    def read(self, i: int) -> Image.Image:
        path = self.paths[i]
        try:
            with Image.open(path) as image:
                check_sides(image.width, image.height)
                image.load()
                return eight_bits(image.copy())
        except DAMAGE as error:
            reason = "it is no image in a known format" if isinstance(error, UnidentifiedImageError) else str(error)
            raise DataError(f"cannot read the image {path}: {reason}; replace the file or remove it") from error

    def content(self, i: int) -> bytes:
        try:
            return self.paths[i].read_bytes()
        except OSError as error:
            raise self._unread(i, error) from error

    def file(self, i: int) -> tuple[bytes, str]:
        return self.content(i), self.paths[i].suffix.lower()

    def size(self, i: int) -> int:
        try:
            return self.paths[i].stat().st_size
        except OSError as error:
            raise self._unread(i, error) from error

    def head(self, i: int) -> bytes:
        try:
            with self.paths[i].open("rb", buffering=0) as file:
                return file.read(HEAD)
        except OSError as error:
            raise self._unread(i, error) from error

    def name(self, i: int) -> str:
        return str(self.paths[i])

    def _unread(self, i: int, error: OSError) -> DataError:
        return DataError(
            f"cannot read the image {self.paths[i]}: {error.strerror or error}; replace the file or remove it"
        )

    def subset(self, indices: Sequence[int] | NDArray[np.int64]) -> Self:
        chosen = np.asarray(indices, dtype=np.int64)
        paths = [self.paths[i] for i in chosen]
        return type(self)(paths, self.labels[chosen], self.classes, self.numbered, self._truths(chosen))

    def relabelled(
        self, classes: tuple[str, ...], numbered: bool = False, labels: NDArray[np.int64] | None = None
    ) -> Self:
        return type(self)(self.paths, self.labels if labels is None else labels, classes, numbered, self.truths)


def numbered_classes(labels: NDArray[np.int64]) -> tuple[str, ...]:
    """The class list "0" to the highest label."""
    return tuple(str(number) for number in range(int(labels.max(initial=-1)) + 1))


def is_image_file(path: Path) -> bool:
    """Whether a path is a file that counts as an image (by its ending; hidden files do not count)."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def eight_bits(image: Image.Image) -> Image.Image:
    """The image with 8 bits a channel; 16-bit grey keeps its upper byte, where PIL would clip instead."""
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.size and (values.min() < 0 or values.max() > 0xFFFF):
            raise ValueError("its pixels are 32-bit integers, but 8 or 16 bits a channel are allowed")
        return Image.fromarray((values >> 8).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers, but 8 or 16 bits a channel are allowed")
    if image.mode not in MODES:
        raise ValueError(f"its pixels are of the mode {image.mode}, but grey, palette, RGB, CMYK and YCbCr are allowed")
    return image
