"""A history on disk: `DIR/MACHINE/NAME/COMMIT.json`, one file for each result of a commit on a machine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from secateur.benchmarks.history.entry import SPEEDUP, Entry
from secateur.core.errors import BenchError
from secateur.core.files import locked
from secateur.core.records import read_record, write_record

KIND = "history"
REMEDY = "remove it, or add the result again"


def add_entry(entry: Entry, folder: Path) -> tuple[Path, bool]:
    """Writes an entry into a history, atomically; its file, and whether it is new.

    What is there already, but for the time, stays as it is. Raises `BenchError` where the commit has another result
    under this name on this machine, and `RunError` where the folder cannot be written.
    """
    path = folder / entry.machine / entry.name / f"{entry.commit}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BenchError(f"{folder} cannot be made a folder ({error.strerror}): give another --to") from error
    with locked(folder / ".lock"):
        if path.exists():
            if replace(read_entry(path), time=entry.time) == entry:
                return path, False
            raise BenchError(
                f"{path} has another result of that commit: remove it, or give this one another --name or --machine"
            )
        write_record(path, KIND, entry)
    return path, True


def read_entry(path: Path) -> Entry:
    """The entry in a file; raises `RunError` or `BenchError` for a file that is none."""
    entry = read_record(path, KIND, Entry, BenchError, REMEDY)
    try:
        datetime.fromisoformat(entry.time)
    except ValueError:
        raise BenchError(f"{path}: the time is {entry.time!r}, which is none by ISO 8601: {REMEDY}") from None
    for one in entry.values:
        low, high = (one.value if end is None else end for end in (one.low, one.high))
        if not low <= high or (one.measure == SPEEDUP and min(low, one.value) <= 0):
            raise BenchError(f"{path}: {one.measure} is {one.value} [{one.low}, {one.high}], which cannot be: {REMEDY}")
    return entry


def read_history(paths: Iterable[Path]) -> list[Entry]:
    """All entries in files and in folders of `add_entry`, the oldest first.

    Raises `BenchError` where there is none, or one result of a commit is there twice with other content.
    """
    found: dict[tuple[str, str, str], Entry] = {}
    for path in paths:
        files = sorted(path.glob("*/*/*.json")) if path.is_dir() else [path]
        if not files:
            raise BenchError(f"{path} holds no history: add results with `secateur history add RUN --to {path}`")
        for file in files:
            entry = read_entry(file)
            known = found.setdefault((entry.machine, entry.name, entry.commit), entry)
            if known != entry:
                raise BenchError(f"{file} has another result of {entry.name} at {entry.commit} than a file before it")
    return sorted(found.values(), key=lambda entry: (entry.time, entry.commit))
