"""The source `folder`: images in folders that are named after their classes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from secateur.core.errors import DataError
from secateur.pipeline.data.class_order import in_order
from secateur.pipeline.data.images import FileImages, is_image_file
from secateur.pipeline.data.registry import Sides, Source, register


def class_folders(path: Path) -> list[Path]:
    """The subfolders that may hold images, sorted by name; hidden ones do not."""
    return sorted(p for p in path.iterdir() if p.is_dir() and not _hidden(p.name))


def open_folder(path: Path) -> Sides:
    """All images below the subfolders, sorted by path; raises `DataError` for a subfolder without any.

    As in timm, the class of an image is the name of the folder that it lies in, at whatever depth, and the classes
    are `in_order`. Where all those folders have one name (`cat/images`, `dog/images`), the subfolders name the classes.
    """
    tops: list[str] = []
    paths: list[Path] = []
    for folder in class_folders(path):
        found = sorted(image_files(folder))
        if not found:
            raise DataError(f"the class folder {folder} holds no images: add some or remove the folder")
        paths += found
        tops += [folder.name] * len(found)
    names = [file.parent.name for file in paths]
    if len(set(names)) == 1:
        names = tops
    classes = in_order(names)
    places = {name: number for number, name in enumerate(classes)}
    return Sides(FileImages(paths, np.array([places[name] for name in names], dtype=np.int64), classes))


def image_files(folder: Path) -> Iterator[Path]:
    """The image files below a folder; links to folders are followed, hidden folders are not entered.

    A link to a folder above itself is not followed again.
    """
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        seen.add(os.path.realpath(place))
        folders[:] = [name for name in folders if not _hidden(name) and os.path.realpath(Path(place, name)) not in seen]
        yield from (file for file in (Path(place, name) for name in files) if is_image_file(file))


def recognises(path: Path) -> bool:
    """Whether the path is a folder with subfolders; what they hold is checked when it is opened."""
    return path.is_dir() and bool(class_folders(path))


def _hidden(name: str) -> bool:
    return name.startswith((".", "__"))


register(Source("folder", "a folder with one subfolder of images for each class", recognises, open_folder, rank=9))
