"""The folder of a run or a sweep: marked as secateur's own, so that no file of the user's is ever written over."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from secateur.core.errors import RunError
from secateur.core.files import LEFTOVER, read_json, write_json

LOCK = ".lock"
"""Which process is at work in the folder."""


@dataclass(frozen=True)
class Kind:
    """A kind of folder. `old` names a JSON file of the schema `schema`, which tells one that was never marked."""

    mark: str
    old: str
    schema: str

    @property
    def marker(self) -> str:
        """The marker's name in the folder."""
        return f".secateur-{self.mark}"


RUN = Kind("run", "manifest.json", "manifest")
SWEEP = Kind("sweep", "sweep.json", "sweep")


def is_run(path: Path) -> bool:
    """Whether a folder is a run directory, finished or not."""
    return (path / "recipe.yaml").is_file()


def is_ours(folder: Path, kind: Kind) -> bool:
    """Whether a folder is of this kind: it carries the marker, or is older and holds what only such a folder holds."""
    return (folder / kind.marker).is_file() or _has(folder / kind.old, kind.schema)


def check_free(folder: Path, kind: Kind) -> None:
    """Raises `RunError` for a folder that secateur may not write into: it is no folder, or holds files of others."""
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir():
        raise RunError(f"{folder} is no folder: choose an empty or new folder with --out")
    if is_ours(folder, kind):
        check_links(folder)
        return
    others = sorted(path.name for path in folder.iterdir() if not _is_beginning(path, kind))
    if others:
        raise RunError(
            f"{folder} is not empty and holds no {kind.mark} ({', '.join(others[:3])}{', ...' * (len(others) > 3)}; "
            f"neither {kind.marker} nor a {kind.old} of secateur): choose an empty or new folder with --out"
        )


def check_links(folder: Path) -> None:
    """Raises `RunError` for a link in the folder that leads out of it: what is written through it is somewhere else."""
    inside = folder.resolve()
    for path in _entries(folder):
        if path.is_symlink() and not _target(path).is_relative_to(inside):
            raise RunError(
                f"{path} is a link that leads out of {folder}, and files are written in there: "
                "replace it by a folder or a file, or choose another --out"
            )


def claim(folder: Path, kind: Kind) -> None:
    """Marks a folder that is free as one of this kind; raises `RunError` as `check_free` does."""
    check_free(folder, kind)
    if not (folder / kind.marker).is_file():
        write_json(folder / kind.marker, kind.mark, {})


def check_there(folder: Path, kind: Kind, error: Exception | None = None) -> None:
    """Raises `RunError` where a folder that was claimed has vanished meanwhile, as what the `error` comes from.

    Whoever writes a file makes its folder anew: that the marker is gone tells it.
    """
    if not (folder / kind.marker).is_file():
        raise RunError(
            f"{folder} was removed or moved while a {kind.mark} was at work in it: remove what is left there and "
            "start again, or name the place that it was moved to"
        ) from error


def _has(path: Path, schema: str) -> bool:
    """Whether a JSON file of this schema is there."""
    try:
        read_json(path, schema)
    except RunError:
        return False
    return True


def _is_beginning(path: Path, kind: Kind) -> bool:
    """Whether it is what a process leaves in an empty folder that is killed before the marker is written."""
    if path.is_symlink() or not path.is_file():
        return False
    empty_lock = path.name == LOCK and not path.stat().st_size
    return empty_lock or (path.name.startswith(f".{kind.marker}.") and bool(re.fullmatch(LEFTOVER, path.name)))


def _entries(folder: Path) -> Iterator[Path]:
    """Everything below a folder; links are not followed."""
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            yield Path(place, name)


def _target(link: Path) -> Path:
    """Where a link leads; of links in a circle, nowhere inside any folder."""
    try:
        return link.resolve()
    except (OSError, RuntimeError):  # a circle
        return Path(os.devnull)
