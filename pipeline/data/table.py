"""Tables of labels: a labels.csv beside the images that it names."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from secateur.core.errors import DataError

NAME = "labels.csv"


def is_table(path: Path) -> bool:
    """Whether the path is a folder with a table, or the table."""
    return (path / NAME).is_file() or (path.name == NAME and path.is_file())


def table_of(path: Path) -> Path:
    """The table of a folder, or the table itself."""
    return (path if path.is_dir() else path.parent) / NAME


def read_table(table: Path, header: str) -> tuple[list[str], list[dict[str, str]]]:
    """The columns and the rows of a table, whose header begins with `file`: `file,label`.

    Raises `DataError` where it cannot be read, lacks a column of the `header` (words in brackets are none), or has no
    rows.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = list(reader.fieldnames or [])
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {table}: {error}; it must be a table with the columns {header}") from error
    if any(word not in columns for word in header.split(",") if word.isidentifier()):
        raise DataError(f"{table} has the columns {', '.join(columns) or 'none'}, but needs the header {header}")
    if not rows:
        raise DataError(f"{table} names no images: add a row for each image")
    return columns, rows


def image_beside(table: Path, name: str) -> Path:
    """The file that a table names, which lies beside it or in `images/`; raises `DataError` where there is none."""
    for place in (table.parent / name, table.parent / "images" / name):
        if place.is_file():
            return place
    raise DataError(
        f"{table} names the file {name!r}, which is neither in {table.parent} nor in its images/: "
        "add the file or remove the row"
    )


def once(files: Sequence[Path], names: Sequence[str], table: Path) -> Sequence[Path]:
    """The files; raises `DataError` where a table names one of them twice."""
    seen: set[Path] = set()
    for file, name in zip(files, names, strict=True):
        if file.resolve() in seen:
            raise DataError(f"{table} names the file {name!r} twice: remove one of the rows")
        seen.add(file.resolve())
    return files
