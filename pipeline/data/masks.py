"""The source `masks`: a folder with images/ and masks/, of which a pixel's value is its class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from secateur.core.errors import DataError
from secateur.pipeline.data.folder import image_files
from secateur.pipeline.data.images import DAMAGE, FileImages
from secateur.pipeline.data.registry import Sides, Source, register
from secateur.pipeline.data.truths import Indices, Truths, class_list, rarest

IMAGES, MASKS = "images", "masks"
IGNORED = 255
"""The value of pixels that belong to no class and count for nothing."""


class Masks(Truths):
    """A file of class numbers for each image, read as `[H, W]` int64, fitted to the input by the nearest pixel."""

    in_place = True

    def __init__(self, paths: Sequence[Path], strata: NDArray[np.int64]) -> None:
        super().__init__(strata)
        self.paths = tuple(paths)

    def read(self, i: int, size: tuple[int, int]) -> Tensor:
        mask = Image.fromarray(read_mask(self.paths[i]))
        fitted = mask.resize((size[1], size[0]), Image.Resampling.NEAREST)
        return torch.from_numpy(np.array(fitted, dtype=np.int64))

    def content(self, i: int) -> bytes:
        return self.paths[i].read_bytes()

    def subset(self, indices: Indices) -> Self:
        chosen = np.asarray(indices, dtype=np.int64)
        return type(self)([self.paths[i] for i in chosen], self.strata[chosen])


def read_mask(path: Path) -> NDArray[np.uint8]:
    """The class numbers `[H, W]` in a file; raises `DataError` for a picture of colours, and what cannot be read."""
    try:
        with Image.open(path) as image:
            if image.mode not in ("L", "P", "1"):
                raise DataError(
                    f"the mask {path} has pixels of the mode {image.mode}, but each must be one class number: write it "
                    "as an 8-bit grey or palette PNG"
                )
            return np.array(image, dtype=np.uint8)
    except DAMAGE as error:
        raise DataError(f"cannot read the mask {path}: {error}; replace the file") from error


def open_masks(path: Path) -> Sides:
    """All images below `images/`, each with the mask of the same name (but for its ending) below `masks/`.

    The classes are those of `classes.txt` beside the two folders, one a line, where there is one, and else numbered up
    to the highest in a mask. Raises `DataError` for an image without a mask and for a mask of another size or class.
    """
    files = sorted(image_files(path / IMAGES))
    if not files:
        raise DataError(f"{path / IMAGES} holds no images: add some, and their masks to {path / MASKS}")
    by_name = {file.relative_to(path / MASKS).with_suffix(""): file for file in image_files(path / MASKS)}
    masks, seen = [], []
    for file in files:
        name = file.relative_to(path / IMAGES).with_suffix("")
        if name not in by_name:
            raise DataError(f"the image {file} has no mask {path / MASKS / name}.png: add it or remove the image")
        masks.append(by_name[name])
        values = read_mask(by_name[name])
        if (size := _size(file)) != values.shape[::-1]:
            raise DataError(
                f"the mask {by_name[name]} is {values.shape[1]} x {values.shape[0]} pixels, but its image "
                f"{size[0]} x {size[1]}: give both one size"
            )
        seen.append(np.setdiff1d(np.unique(values), [IGNORED]))
    listed, most = class_list(path), max((int(values[-1]) for values in seen if len(values)), default=-1)
    if most < 0:
        raise DataError(f"the masks in {path / MASKS} name no class: every pixel is {IGNORED}")
    if listed and most >= len(listed):
        place = next(i for i, values in enumerate(seen) if len(values) and values.max() >= len(listed))
        raise DataError(f"the mask {masks[place]} has the class {most}, but classes.txt names 0 to {len(listed) - 1}")
    classes = listed or tuple(str(number) for number in range(most + 1))
    there = np.zeros((len(files), len(classes)), dtype=np.bool_)
    for row, values in enumerate(seen):
        there[row, values] = True
    truths = Masks(masks, rarest(there))
    return Sides(FileImages(files, truths.strata, classes, numbered=not listed, truths=truths))


def _size(path: Path) -> tuple[int, int]:
    """Width and height of an image."""
    try:
        with Image.open(path) as image:
            return image.size
    except DAMAGE as error:
        raise DataError(f"cannot read the image {path}: {error}; replace the file or remove it") from error


def recognises(path: Path) -> bool:
    """Whether the path has both folders."""
    return (path / IMAGES).is_dir() and (path / MASKS).is_dir()


LOOKS = f"a folder with {IMAGES}/ and {MASKS}/, of which a pixel's value is its class ({IGNORED}: none)"
register(Source("masks", LOOKS, recognises, open_masks, labels="masks"))
