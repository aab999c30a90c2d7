"""The source `labels_csv`: a folder of images with a `labels.csv` of the columns file and label."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from secateur.core.errors import DataError
from secateur.pipeline.data.class_order import in_order
from secateur.pipeline.data.images import FileImages, numbered_classes
from secateur.pipeline.data.registry import Sides, Source, register

NAME = "labels.csv"


def open_labels_csv(path: Path) -> Sides:
    """The images that the table names, in its order; other files are not used.

    Files are looked for beside the table and in `images/`. Labels are numbers from 0, or names (in `in_order`).
    """
    folder = path if path.is_dir() else path.parent
    table = folder / NAME
    rows = _rows(table)
    files: list[Path] = []
    seen: set[Path] = set()
    for name, _ in rows:
        file = next((place for place in (folder / name, folder / "images" / name) if place.is_file()), None)
        if file is None:
            raise DataError(
                f"{table} names the file {name!r}, which is neither in {folder} nor in its images/: "
                "add the file or remove the row"
            )
        if file.resolve() in seen:
            raise DataError(f"{table} names the file {name!r} twice: remove one of the rows")
        seen.add(file.resolve())
        files.append(file)
    words = [label for _, label in rows]
    if all(word.lstrip("-").isdecimal() for word in words):
        labels = np.asarray([int(word) for word in words], dtype=np.int64)
        if labels.min() < 0:
            raise DataError(f"{table} has the label {labels.min()}, but labels are names or numbers from 0")
        return Sides(FileImages(files, labels, numbered_classes(labels), numbered=True))
    classes = in_order(words)
    places = {name: number for number, name in enumerate(classes)}
    return Sides(FileImages(files, np.array([places[word] for word in words], dtype=np.int64), classes))


def _rows(table: Path) -> list[tuple[str, str]]:
    """File and label of every row; raises `DataError` for a table without those columns or with holes."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = reader.fieldnames or []
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {table}: {error}; it must be a table with the columns file,label") from error
    if "file" not in columns or "label" not in columns:
        raise DataError(f"{table} has the columns {', '.join(columns) or 'none'}, but needs the header file,label")
    if not rows:
        raise DataError(f"{table} names no images: add a row for each image")
    for number, row in enumerate(rows, start=2):
        if not row["file"] or not row["label"]:
            raise DataError(f"{table} lacks a file or a label in row {number}: fill it in or remove the row")
    return [(row["file"], row["label"].strip()) for row in rows]


def recognises(path: Path) -> bool:
    """Whether the path is such a folder, or its table."""
    return (path / NAME).is_file() or (path.name == NAME and path.is_file())


register(Source("labels_csv", "a folder of images with labels.csv (file,label)", recognises, open_labels_csv))
