"""The registry of source formats: a new format is one file that registers one `Source`.

Another package names its own in the entry points `secateur.data_sources`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from secateur.core.errors import DataError
from secateur.core.registry import Registry
from secateur.pipeline.data.images import Images


@dataclass(frozen=True)
class Sides:
    """What a source holds: all its images, or its own training images and its own held-out ones."""

    train: Images
    held_out: Images | None = None


@dataclass(frozen=True)
class Source:
    """One format: `looks` says in a phrase how it looks on disk, for error messages.

    `recognises` decides cheaply from names; `open` reads, and raises `DataError` when the content is not what the
    names promise. Sources are asked in the order of their `rank`, lowest first.
    """

    name: str
    looks: str
    recognises: Callable[[Path], bool]
    open: Callable[[Path], Sides]
    rank: int = 0


_OURS = ("cifar10", "digits", "folder", "idx", "labels_csv", "npz", "split_folder")
SOURCES: Registry[Source] = Registry(
    "data source", {name: f"secateur.pipeline.data.{name}" for name in _OURS}, "secateur.data_sources"
)


def register(source: Source) -> None:
    """Adds a source to the registry; raises `ValueError` on a duplicate."""
    SOURCES.register(source.name)(source)


def sources() -> tuple[Source, ...]:
    """All sources, those of installed packages too, in the order in which they are asked."""
    found = (SOURCES.find(name) for name in SOURCES.names())
    return tuple(sorted(found, key=lambda source: (source.rank, source.name)))


def find_source(path: Path) -> Source:
    """The first source that recognises `path`; raises `DataError` with the choices when none does."""
    for source in sources():
        if source.recognises(path):
            return source
    looks = "; ".join(source.looks for source in sources())
    if not path.exists():
        raise DataError(f"there is no file or folder {path}: give one of: {looks}")
    raise DataError(f"the data in {path} has no known format: give one of: {looks}")
