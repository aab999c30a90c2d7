"""Tables of labels: a labels.csv, or another .csv file, beside the images that it names."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from secateur.core.errors import DataError

NAME = "labels.csv"


@dataclass(frozen=True)
class Columns:
    """What a table calls the columns with the images' files and with their labels."""

    file: str = "file"
    label: str = "label"


USUAL = Columns()
"""The names of the columns where nobody says others."""


def is_table(path: Path) -> bool:
    """Whether the path is a folder with a table, or a table."""
    return (path / NAME).is_file() or (path.suffix == ".csv" and path.is_file())


def table_of(path: Path) -> Path:
    """The table of a folder, or the table itself."""
    return path / NAME if path.is_dir() else path


def read_table(table: Path, header: str, names: Columns = USUAL) -> tuple[list[str], list[dict[str, str]]]:
    """The columns and the rows of a table, whose header begins with `file`: `file,label`.

    The columns that it calls by other `names` are called `file` and `label` here. Raises `DataError` where it cannot be
    read, lacks a column of the `header` (words in brackets are none), or has no rows.
    """
    wanted = {word: name for word, name in asdict(names).items() if word in header.split(",")}
    header = ",".join(wanted.get(word, word) for word in header.split(","))
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = list(reader.fieldnames or [])
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {table}: {error}; it must be a table with the columns {header}") from error
    if any(name not in columns for name in wanted.values()):
        raise DataError(
            f"{table} has the columns {', '.join(columns) or 'none'}, but needs the header {header}; "
            "data.file_column and data.label_column say where columns are called otherwise"
        )
    if twice := [name for name in columns if columns.count(name) > 1]:
        raise DataError(f"{table} has the column {twice[0]!r} twice: give each column a name of its own")
    if long := [number for number, row in enumerate(rows, start=2) if None in row]:  # csv's key of further cells
        raise DataError(f"{table} has more cells in row {long[0]} than columns: put quotes around commas in a name")
    if not rows:
        raise DataError(f"{table} names no images: add a row for each image")
    others = [column for column in columns if column not in (*wanted, *wanted.values())]
    called = {**{name: name for name in others}, **wanted}
    return [*wanted, *others], [{word: row[name] for word, name in called.items()} for row in rows]


def image_beside(table: Path, name: str) -> Path:
    """The file that a table names, which lies beside it or in `images/`; raises `DataError` where there is none."""
    for place in (table.parent / name, table.parent / "images" / name):
        if is_there(place):
            return place
    raise DataError(
        f"{table} names the file {name[:300]!r}, which is neither in {table.parent} nor in its images/: "
        "add the file or remove the row"
    )


def is_there(path: Path) -> bool:
    """Whether a path is a file; a name that no system takes, as one of 300 characters, is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def once(files: Sequence[Path], names: Sequence[str], table: Path) -> Sequence[Path]:
    """The files; raises `DataError` where a table names one of them twice."""
    seen: set[Path] = set()
    for file, name in zip(files, names, strict=True):
        if file.resolve() in seen:
            raise DataError(f"{table} names the file {name!r} twice: remove one of the rows")
        seen.add(file.resolve())
    return files
