"""The registry of source formats: a new format is one file that registers one `Source`.

Another package names its own in the entry points `secateur.data_sources`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from secateur.core.errors import DataError
from secateur.core.registry import Registry
from secateur.pipeline.data.images import Images
from secateur.pipeline.data.table import USUAL, Columns
from secateur.pipeline.data.truths import LabelKind


@dataclass(frozen=True)
class Sides:
    """What a source holds: all its images, or its own training images and its own held-out ones."""

    train: Images
    held_out: Images | None = None


@dataclass(frozen=True)
class Source:
    """One format: `looks` says in a phrase how it looks on disk, for error messages, `labels` what its labels are.

    `recognises` decides cheaply from names; `open` reads, and raises `DataError` when the content is not what the
    names promise. Sources are asked in the order of their `rank`, lowest first.
    """

    name: str
    looks: str
    recognises: Callable[[Path], bool]
    open: Callable[[Path], Sides]
    rank: int = 0
    labels: LabelKind | None = "classes"


@dataclass(frozen=True)
class Division(Source):
    """A format that divides others, whatever the kind of their labels: `open_for` opens the parts."""

    labels: LabelKind | None = None
    open_for: Callable[[Path, LabelKind, Columns], Sides] = field(kw_only=True)


@dataclass(frozen=True)
class Tabled(Source):
    """A format with a table, whose columns may have other names: `open_named` opens it by these."""

    open_named: Callable[[Path, Columns], Sides] = field(kw_only=True)


_CLASSES = ("cifar10", "digits", "folder", "idx", "labels_csv", "npz", "split_folder")
_OURS = (*_CLASSES, "coco", "masks", "numbers_csv", "sets_csv")
SOURCES: Registry[Source] = Registry(
    "data source", {name: f"secateur.pipeline.data.{name}" for name in _OURS}, "secateur.data_sources"
)


def register(source: Source) -> None:
    """Adds a source to the registry; raises `ValueError` on a duplicate."""
    SOURCES.register(source.name)(source)


def sources(labels: LabelKind = "classes") -> tuple[Source, ...]:
    """All sources of a kind of labels, those of installed packages too, in the order in which they are asked."""
    every = (SOURCES.find(name) for name in SOURCES.names())
    found = (source for source in every if source.labels in (labels, None))
    return tuple(sorted(found, key=lambda source: (source.rank, source.name)))


def find_source(path: Path, labels: LabelKind = "classes") -> Source:
    """The first source that recognises `path`; raises `DataError` with the choices when none does."""
    there = sources(labels)
    for source in there:
        if source.recognises(path):
            return source
    looks = "; ".join(source.looks for source in there)
    if not path.exists():
        raise DataError(f"there is no file or folder {path}: give one of: {looks}")
    raise DataError(f"the data in {path} has no known format: give one of: {looks}")


def open_source(path: Path, labels: LabelKind = "classes", columns: Columns = USUAL) -> Sides:
    """What the first source that recognises `path` holds, a table by the names of its `columns`.

    Raises `DataError` where none does, where it cannot be read, and for names of columns where there is no table.
    """
    source = find_source(path, labels)
    if isinstance(source, Division):
        return source.open_for(path, labels, columns)
    if isinstance(source, Tabled):
        return source.open_named(path, columns)
    if columns != USUAL:
        raise DataError(
            f"data.file_column and data.label_column name columns of a table, but {path} is {source.looks}: "
            "leave them out"
        )
    return source.open(path)
