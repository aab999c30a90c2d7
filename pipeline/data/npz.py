"""The source `npz`: a NumPy archive with `images` and `labels` (and `classes`, the names, where there are any)."""

from __future__ import annotations

import lzma
import math
import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError

import numpy as np

from secateur.core.errors import DataError
from secateur.pipeline.data.arrays import array_images
from secateur.pipeline.data.bounds import check_unpacked
from secateur.pipeline.data.registry import Sides, Source, register

KEYS = ("images", "labels", "classes")
DAMAGE = (
    *(OSError, ValueError, EOFError, AttributeError, TypeError, SyntaxError, RecursionError, MemoryError),
    *(RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, TokenError),
)
"""What zipfile and NumPy raise of an archive that is cut off, encrypted, packed strangely or overwritten."""


def open_npz(path: Path) -> Sides:
    """All images of the archive; objects in it are refused, since reading them would run code.

    What the arrays claim is bounded by their headers before one is read.
    """
    try:
        _check_headers(path)
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in KEYS if key in archive}
            keys = list(archive)
    except DAMAGE as error:
        raise DataError(
            f"cannot read {path}: {error}; give an .npz of plain arrays called images and labels"
        ) from error
    for key in ("images", "labels"):
        if key not in arrays:
            raise DataError(f"{path} holds {', '.join(keys) or 'nothing'}, but needs images and labels")
    classes = tuple(str(name) for name in arrays["classes"].ravel()) if "classes" in arrays else None
    return Sides(array_images(arrays["images"], arrays["labels"], str(path), classes))


def _check_headers(path: Path) -> None:
    """Raises `DataError` for an array that claims more than its member holds, or than the file may hold."""
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.filename not in {f"{key}.npy" for key in KEYS}:
                continue
            check_unpacked(member.file_size, path.stat().st_size, f"{member.filename} in {path}")
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, kind = read(file)
                needed = math.prod(shape) * kind.itemsize
                if min(shape, default=0) < 0 or needed > member.file_size:
                    raise DataError(
                        f"{member.filename} in {path} says that its shape is {list(shape)[:8]} of {kind}, but holds "
                        f"{member.file_size:,} bytes: write the archive again"
                    )


register(
    Source("npz", "an .npz with images and labels", lambda path: path.suffix == ".npz" and path.is_file(), open_npz)
)
