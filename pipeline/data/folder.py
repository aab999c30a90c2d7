"""The source `folder`: one subfolder of images for each class, named after it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from secateur.core.errors import DataError
from secateur.pipeline.data.images import FileImages, is_image_file
from secateur.pipeline.data.registry import Sides, Source, register


def class_folders(path: Path) -> list[Path]:
    """The subfolders that stand for classes, sorted by name; hidden ones are none."""
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))


def open_folder(path: Path) -> Sides:
    """All images below each class folder, sorted by path; raises `DataError` for a class folder without any."""
    paths: list[Path] = []
    labels: list[int] = []
    folders = class_folders(path)
    for label, folder in enumerate(folders):
        found = sorted(file for file in folder.rglob("*") if is_image_file(file))
        if not found:
            raise DataError(f"the class folder {folder} holds no images: add some or remove the folder")
        paths += found
        labels += [label] * len(found)
    classes = tuple(folder.name for folder in folders)
    return Sides(FileImages(paths, np.asarray(labels, dtype=np.int64), classes))


def recognises(path: Path) -> bool:
    """Whether the path is a folder with subfolders; what they hold is checked when it is opened."""
    return path.is_dir() and bool(class_folders(path))


register(Source("folder", "a folder with one subfolder of images for each class", recognises, open_folder, rank=9))
