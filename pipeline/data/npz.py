"""The source `npz`: a NumPy archive with `images` and `labels` (and `classes`, the names, where there are any)."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from secateur.core.errors import DataError
from secateur.pipeline.data.arrays import array_images
from secateur.pipeline.data.registry import Sides, Source, register


def open_npz(path: Path) -> Sides:
    """All images of the archive; objects in it are refused, since reading them would run code."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in ("images", "labels", "classes") if key in archive}
            keys = list(archive)
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"cannot read {path}: {error}; give an .npz of plain arrays called images and labels"
        ) from error
    for key in ("images", "labels"):
        if key not in arrays:
            raise DataError(f"{path} holds {', '.join(keys) or 'nothing'}, but needs images and labels")
    classes = tuple(str(name) for name in arrays["classes"].ravel()) if "classes" in arrays else None
    return Sides(array_images(arrays["images"], arrays["labels"], str(path), classes))


register(
    Source("npz", "an .npz with images and labels", lambda path: path.suffix == ".npz" and path.is_file(), open_npz)
)
