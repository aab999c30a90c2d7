"""The source `labels_csv`: a folder of images with a `labels.csv` of the columns file and label."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from secateur.core.errors import DataError
from secateur.pipeline.data.bounds import MOST_CLASSES, check_label
from secateur.pipeline.data.class_order import in_order
from secateur.pipeline.data.images import FileImages, numbered_classes
from secateur.pipeline.data.registry import Sides, Tabled, register
from secateur.pipeline.data.table import USUAL, Columns, image_beside, is_table, once, read_table, table_of


def open_labels_csv(path: Path, names: Columns = USUAL) -> Sides:
    """The images that the table names, in its order; other files are not used.

    Files are looked for beside the table and in `images/`. Labels are numbers from 0, or names (in `in_order`).
    """
    table = table_of(path)
    _, rows = read_table(table, "file,label", names)
    for number, row in enumerate(rows, start=2):
        if not row["file"] or not row["label"]:
            raise DataError(f"{table} lacks a file or a label in row {number}: fill it in or remove the row")
    files = once([image_beside(table, row["file"]) for row in rows], [row["file"] for row in rows], table)
    words = [row["label"].strip() for row in rows]
    if all(word.lstrip("-").isdecimal() for word in words):
        labels = np.asarray([_number(word, table) for word in words], dtype=np.int64)
        return Sides(FileImages(files, labels, numbered_classes(labels), numbered=True))
    classes = in_order(words)
    places = {name: number for number, name in enumerate(classes)}
    return Sides(FileImages(files, np.array([places[word] for word in words], dtype=np.int64), classes))


def _number(word: str, table: Path) -> int:
    """The label that a word of digits says; raises `DataError` for one that numbers no class."""
    if word.startswith("--") or len(word) > len(str(MOST_CLASSES)):
        raise DataError(
            f"{table} has the label {word[:40]!r}, but labels are names, or numbers from 0 to {MOST_CLASSES - 1}"
        )
    check_label(int(word), str(table))
    return int(word)


LOOKS = "a folder of images with labels.csv (file,label), or such a .csv file"
register(Tabled("labels_csv", LOOKS, is_table, open_labels_csv, open_named=open_labels_csv))
