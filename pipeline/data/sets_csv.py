"""The source `sets_csv`: a folder of images with a `labels.csv` that gives a file any number of labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from secateur.core.errors import DataError
from secateur.pipeline.data.class_order import in_order
from secateur.pipeline.data.images import FileImages
from secateur.pipeline.data.registry import Sides, Tabled, register
from secateur.pipeline.data.table import USUAL, Columns, image_beside, is_table, read_table, table_of
from secateur.pipeline.data.truths import Rows, class_list, rarest

APART = ";"
"""What lies between the labels of one cell."""


def open_sets_csv(path: Path, names: Columns = USUAL) -> Sides:
    """The images that the table names, each once, with all labels of its rows; a cell may hold several, or none.

    The labels are those of `classes.txt` beside the table, one a line, where there is one, and else all that are named,
    `in_order`.
    """
    table = table_of(path)
    _, rows = read_table(table, "file,label", names)
    sets: dict[Path, set[str]] = {}
    for place, row in enumerate(rows, start=2):
        if not row["file"]:
            raise DataError(f"{table} lacks a file in row {place}: fill it in or remove the row")
        words = {word.strip() for word in (row["label"] or "").split(APART)} - {""}
        sets.setdefault(image_beside(table, row["file"]).resolve(), set()).update(words)
    listed = class_list(table.parent)
    classes = listed or in_order(word for words in sets.values() for word in words)
    if unknown := sorted({word for words in sets.values() for word in words} - set(classes)):
        raise DataError(f"{table} has the label {unknown[0]!r}, which is not in classes.txt: add it there")
    if not classes:
        raise DataError(f"{table} gives no image any label: fill in the column label")
    places = {name: number for number, name in enumerate(classes)}
    there = np.zeros((len(sets), len(classes)), dtype=np.bool_)
    for row_number, words in enumerate(sets.values()):
        there[row_number, [places[word] for word in words]] = True
    truths = Rows(there.astype(np.float32), rarest(there))
    return Sides(FileImages(list(sets), truths.strata, classes, truths=truths))


LOOKS = f"a folder of images with labels.csv (file,label; several labels in rows of their own or apart by {APART})"
register(Tabled("sets_csv", LOOKS, is_table, open_sets_csv, labels="sets", open_named=open_sets_csv))
