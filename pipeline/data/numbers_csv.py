"""The source `numbers_csv`: a folder of images with a `labels.csv` of the column file and columns of numbers."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from secateur.core.errors import DataError
from secateur.pipeline.data.images import FileImages
from secateur.pipeline.data.registry import Sides, Tabled, register
from secateur.pipeline.data.table import USUAL, Columns, image_beside, is_table, once, read_table, table_of
from secateur.pipeline.data.truths import Rows

TENTHS = 10
HEADER = "file,(columns of numbers)"


def open_numbers_csv(path: Path, given: Columns = USUAL) -> Sides:
    """The images that the table names, in its order, with the numbers of its other columns, whose names are `classes`.

    Where another column than `label` is `given` for the labels, that is the only one.

    The strata are the tenths of the first column, so that images drawn from them cover its range.
    """
    table = table_of(path)
    columns, rows = read_table(table, HEADER, given)
    names = [column for column in columns if column != "file" and given.label in (column, USUAL.label)]
    if not names:
        raise DataError(
            f"{table} has the columns {', '.join(columns)}, but needs the header {HEADER}"
            f"{f' with {given.label}' if given.label != USUAL.label else ''}"
        )
    values = np.array([[_number(row, name, table, place) for name in names] for place, row in enumerate(rows, start=2)])
    files = once([image_beside(table, row["file"]) for row in rows], [row["file"] for row in rows], table)
    ranks = values[:, 0].argsort(kind="stable").argsort(kind="stable")
    truths = Rows(values.astype(np.float32), ranks * min(TENTHS, len(rows)) // len(rows))
    return Sides(FileImages(files, truths.strata, tuple(names), truths=truths))


def _number(row: dict[str, str], column: str, table: Path, place: int) -> float:
    """The number of a row in a column."""
    try:
        value = float(row[column])
    except (TypeError, ValueError):
        value = math.nan
    if not row["file"] or not math.isfinite(value):
        what = "no file" if not row["file"] else f"{row[column]!r} in the column {column}"
        raise DataError(
            f"{table} has {what} in row {place}, but regression needs a file and numbers: mend or remove the row"
        )
    return value


LOOKS = "a folder of images with labels.csv (file and columns of numbers)"
register(Tabled("numbers_csv", LOOKS, is_table, open_numbers_csv, labels="numbers", open_named=open_numbers_csv))
