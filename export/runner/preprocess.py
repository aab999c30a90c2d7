"""From a picture to a model's input, as preprocessing.json says: timm's evaluation transform with Pillow and numpy."""

from __future__ import annotations

import io
import math
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import BundleError, InferenceError, UnavailableError
from .fields import number_of, read_object
from .npy import parse_npy
from .text import first_line

SCHEMA = "secateur.preprocessing/1"
MOST_BYTES = 256 << 20
MOST_PIXELS = 1 << 26
"""The largest picture: 67 million pixels."""
FORMATS = ("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM", "TGA", "TIFF", "WEBP")
"""Pillow's names of what is read: a picture in another of its formats may start a program (EPS: Ghostscript)."""
INTERPOLATIONS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}
"""Pillow's numbers."""


@dataclass(frozen=True)
class Preprocessing:
    """How pictures become inputs: `shape` is (C, H, W); `mean` and `std` are on the scale of pixels from 0 to 1.

    A picture is resized so that the crop takes `crop_pct` of it; one that is not larger than the input is scaled whole.
    Where normalisation is `inside` the graph, inputs are cropped pixels, uint8 `[B, H, W, C]`.
    """

    shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    crop_pct: float
    crop_mode: str
    inside: bool = False

    def input_of(self, path: Path) -> np.ndarray[Any, Any]:
        """The input `[1, ...]` of a picture, or what an .npy file holds, which is an input as it is.

        Raises `InferenceError` for a file that is neither, and `UnavailableError` where there is no Pillow.
        """
        try:
            about = path.stat()
            if not stat.S_ISREG(about.st_mode):  # reading a pipe or a device may never end
                raise InferenceError(f"{path} is no regular file: name a picture or an .npy")
            if about.st_size > MOST_BYTES:
                raise InferenceError(f"{path} has {about.st_size} bytes, but pictures of at most {MOST_BYTES} are read")
            data = path.read_bytes()
        except OSError as error:
            raise InferenceError(f"cannot read {path}: {error.strerror or error}") from error
        if path.suffix == ".npy":
            try:
                array = parse_npy(data, path.name)
            except BundleError as error:
                raise InferenceError(str(error)) from error
            if not array.size:
                raise InferenceError(f"{path} holds {list(array.shape)}, which is no image: give one or more")
            return array[None] if array.ndim == len(self.shape) else array
        return self.input_from(data, str(path))

    def input_from(self, data: bytes, where: str) -> np.ndarray[Any, Any]:
        """`[1, C, H, W]` float32 of the bytes of a picture, or `[1, H, W, C]` uint8 where the graph normalises."""
        cropped = np.asarray(self._fitted(_decoded(data, where, "L" if self.shape[0] == 1 else "RGB")))
        pixels = cropped[..., None] if cropped.ndim == 2 else cropped
        if self.inside:
            return np.ascontiguousarray(pixels[None])
        scaled = (pixels.astype(np.float32) / np.float32(255) - np.asarray(self.mean, np.float32)) / np.asarray(
            self.std, np.float32
        )
        return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None])

    def _fitted(self, image: Any) -> Any:
        """The picture in the size of the input."""
        _, height, width = self.shape
        share = 1.0 if image.width <= width and image.height <= height else self.crop_pct
        tall, wide = math.floor(height / share), math.floor(width / share)
        if self.crop_mode == "squash":
            size = (wide, tall)
        elif self.crop_mode == "center" and tall == wide:
            short, long = sorted(image.size)
            other = int(tall * long / short)
            size = (tall, other) if image.width <= image.height else (other, tall)
        else:
            ratios = image.height / tall, image.width / wide
            ratio = max(ratios) if self.crop_mode == "border" else min(ratios)
            size = (round(image.width / ratio), round(image.height / ratio))
        if min(size) < 1 or size[0] * size[1] > MOST_PIXELS:
            raise InferenceError(
                f"a picture of {image.width} x {image.height} pixels cannot be fitted to {width} x {height}"
            )
        if size != image.size:
            image = image.resize(size, INTERPOLATIONS[self.interpolation])
        return _cropped(image, width, height, self._border if self.crop_mode == "border" else 0)

    @property
    def _border(self) -> Any:
        fill = tuple(round(255 * value) for value in self.mean)
        return fill[0] if len(fill) == 1 else fill


def parse_preprocessing(data: bytes) -> Preprocessing:
    """What preprocessing.json says; raises `BundleError` for anything that the runner cannot do."""
    where = "preprocessing.json"
    fields = read_object(data, where, SCHEMA)
    found = Preprocessing(
        shape=tuple(int(size) for size in fields.items("shape", number_of, 3)),
        mean=fields.items("mean", number_of, 3),
        std=fields.items("std", number_of, 3),
        interpolation=fields.text("interpolation", "|".join(INTERPOLATIONS)),
        crop_pct=fields.number("crop_pct", 0.01, 1),
        crop_mode=fields.text("crop_mode", "center|squash|border"),
        inside=fields.flag("inside"),
    )
    fields.end()
    if len(found.shape) != 3 or found.shape[0] not in (1, 3) or not all(1 <= size <= 16384 for size in found.shape):
        raise BundleError(f"{where} has the shape {list(found.shape)}, but [1 or 3, height, width] is needed")
    if not len(found.mean) == len(found.std) == found.shape[0] or min(found.std) <= 0:
        raise BundleError(f"{where}: mean and std need {found.shape[0]} numbers each, std above 0")
    return found


def _decoded(data: bytes, where: str, mode: str) -> Any:
    """The picture in `L` or `RGB`; of 16 bits the upper ones."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise UnavailableError(
            "pictures are read by Pillow, which is not installed: `pip install pillow`, or give the input as .npy"
        ) from error
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.format not in FORMATS:
                raise InferenceError(f"{where} is in {image.format}, but only {', '.join(FORMATS)} are read")
            if image.width * image.height > MOST_PIXELS:
                raise InferenceError(
                    f"{where} has {image.width} x {image.height} pixels, but at most {MOST_PIXELS} are read"
                )
            image.load()
            if image.mode.startswith("I"):
                return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)).convert(mode)
            return image.convert(mode)
    except InferenceError:
        raise
    except UnidentifiedImageError as error:
        raise InferenceError(f"{where} is no picture that can be read (its format is unknown)") from error
    except Exception as error:  # Pillow raises whatever its decoders raise
        raise InferenceError(f"{where} is no picture that can be read ({first_line(error)})") from error


def _cropped(image: Any, width: int, height: int, fill: Any) -> Any:
    """The middle of a picture; what is missing around it is filled."""
    if image.size == (width, height):
        return image
    from PIL import Image

    wide, tall = max(width, image.width), max(height, image.height)
    if (wide, tall) != image.size:
        larger = Image.new(image.mode, (wide, tall), fill)
        larger.paste(image, ((wide - image.width) // 2, (tall - image.height) // 2))
        image = larger
    left, top = round((wide - width) / 2.0), round((tall - height) / 2.0)
    return image.crop((left, top, left + width, top + height))
