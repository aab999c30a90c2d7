"""The source `numbers_csv`: a folder of images with a `labels.csv` of the column file and columns of numbers."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from secateur.core.errors import DataError
from secateur.pipeline.data.images import FileImages
from secateur.pipeline.data.registry import Sides, Source, register
from secateur.pipeline.data.table import image_beside, is_table, once, read_table, table_of
from secateur.pipeline.data.truths import Rows

TENTHS = 10
HEADER = "file,(columns of numbers)"


def open_numbers_csv(path: Path) -> Sides:
    """The images that the table names, in its order, with the numbers of its other columns, whose names are `classes`.

    The strata are the tenths of the first column, so that images drawn from them cover its range.
    """
    table = table_of(path)
    columns, rows = read_table(table, HEADER)
    names = [column for column in columns if column != "file"]
    if "file" not in columns or not names:
        raise DataError(f"{table} has the columns {', '.join(columns)}, but needs the header {HEADER}")
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
register(Source("numbers_csv", LOOKS, is_table, open_numbers_csv, labels="numbers"))
