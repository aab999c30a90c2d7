"""The registry of source formats: a new format is one file that registers one `Source`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from secateur.core.errors import DataError
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


_SOURCES: dict[str, Source] = {}


def register(source: Source) -> None:
    """Adds a source to the registry; raises `ValueError` on a duplicate."""
    if source.name in _SOURCES:
        raise ValueError(f"the data source {source.name!r} is registered twice")
    _SOURCES[source.name] = source


def sources() -> tuple[Source, ...]:
    """All registered sources in the order in which they are asked."""
    return tuple(sorted(_SOURCES.values(), key=lambda source: (source.rank, source.name)))


def find_source(path: Path) -> Source:
    """The first source that recognises `path`; raises `DataError` with the choices when none does."""
    for source in sources():
        if source.recognises(path):
            return source
    looks = "; ".join(source.looks for source in sources())
    if not path.exists():
        raise DataError(f"there is no file or folder {path}: give one of: {looks}")
    raise DataError(f"the data in {path} has no known format: give one of: {looks}")
