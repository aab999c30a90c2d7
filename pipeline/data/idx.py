"""The source `idx`: MNIST's files `...images-idx3-ubyte` and `...labels-idx1-ubyte`, plain or gzipped."""

from __future__ import annotations

import gzip
import math
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.core.errors import DataError
from secateur.pipeline.data.arrays import array_images
from secateur.pipeline.data.bounds import check_unpacked
from secateur.pipeline.data.images import ArrayImages
from secateur.pipeline.data.registry import Sides, Source, register

_IMAGES = re.compile(r"^(?P<part>.*)images[-.]idx[34](?P<tail>[-.]ubyte)(?P<gz>\.gz)?$")
_HELD_OUT = ("t10k", "test", "val")
DIMENSIONS = 4
"""Of an array: images, rows, columns and channels."""
CHUNK = 1 << 10
"""The bytes that are looked at behind the values."""
_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def image_files(path: Path) -> list[Path]:
    """The image files at a path: itself, or those in the folder, sorted; a plain file goes before its gzipped copy."""
    if path.is_file():
        return [path] if _IMAGES.match(path.name) else []
    if not path.is_dir():
        return []
    found = sorted(file for file in path.iterdir() if _IMAGES.match(file.name) and file.is_file())
    return [file for file in found if file.suffix != ".gz" or file.with_suffix("") not in found]


def open_idx(path: Path) -> Sides:
    """The training images and, where there are `t10k` (or `test`) files, those as held-out images."""
    files = image_files(path)
    held = [file for file in files if any(word in file.name for word in _HELD_OUT)] if len(files) > 1 else []
    train = [file for file in files if file not in held]
    if len(train) != 1 or len(held) > 1:
        raise DataError(
            f"{path} holds the image files {', '.join(file.name for file in files)}, "
            "but one for training and at most one for testing (t10k) are expected: give the path of one of them"
        )
    return Sides(_pair(train[0]), _pair(held[0]) if held else None)


def _pair(images: Path) -> ArrayImages:
    """An image file with its label file, which may be gzipped or plain whatever the other is."""
    plain = re.sub(r"images([-.])idx[34]", r"labels\1idx1", images.name.removesuffix(".gz"))
    choices = [images.with_name(plain), images.with_name(plain + ".gz")]
    labels = next((file for file in choices if file.is_file()), None)
    if labels is None:
        raise DataError(f"{images} has no label file: put {plain} (or {plain}.gz) beside it")
    return array_images(read_idx(images), read_idx(labels), str(images))


def read_idx(path: Path) -> NDArray[Any]:
    """The array in an IDX file: magic (0, 0, type, dimensions), big-endian sizes, values.

    The sizes are held against the bytes of the file before any value is read.
    """
    try:
        stored = path.stat().st_size
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            magic = file.read(4)
            count = magic[3] if len(magic) == 4 else 0
            sizes = file.read(4 * count)
            if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES or len(sizes) < 4 * count:
                raise DataError(
                    f"{path} is not an IDX file (its first bytes are {magic.hex() or 'missing'}): copy it again"
                )
            if not 1 <= count <= DIMENSIONS:
                raise DataError(
                    f"{path} has {count} dimensions, but 1 to {DIMENSIONS} are known: give images and labels"
                )
            shape = tuple(np.frombuffer(sizes, ">u4").tolist())
            kind = np.dtype(_TYPES[magic[2]])
            needed = math.prod(shape) * kind.itemsize
            check_unpacked(needed, stored, str(path))
            data = file.read(needed)
            held = len(data) + len(file.read(CHUNK))
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read {path}: {error}; download or copy the file again") from error
    if held != needed:
        raise DataError(
            f"{path} announces {needed} bytes of values, but holds {held}{' or more' * (held == needed + CHUNK)}: "
            "download or copy the file again"
        )
    return np.frombuffer(data, kind).reshape(shape).astype(kind.newbyteorder("="))


register(Source("idx", "MNIST-style IDX files (plain or .gz)", lambda path: bool(image_files(path)), open_idx))
