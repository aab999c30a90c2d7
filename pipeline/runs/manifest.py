"""The manifest of a run: for each finished stage what it read, what it wrote, and with which versions."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePath

from secateur.core import packages
from secateur.core.errors import RunError
from secateur.core.files import sha256_once, write_json
from secateur.core.records import read_record

_DIGEST = re.compile("[0-9a-f]{64}")
NAME, KIND = "manifest.json", "manifest"
LONGEST = 1000
"""Characters of an output's name."""


@dataclass(frozen=True)
class Entry:
    """One finished stage: the hash of its inputs, the SHA-256 of each output, seconds, versions and the seed.

    `reads` are the inputs by name: hashes of content, and plain values of what is installed and of the machine.
    """

    inputs: str
    outputs: Mapping[str, str]
    seconds: float
    versions: Mapping[str, str]
    seed: int
    reads: Mapping[str, str] = field(default_factory=dict)

    def changes(self, folder: Path, reads: Mapping[str, str]) -> tuple[str, ...]:
        """Why the stage must be done again now that it reads this, as phrases; empty where it is up to date."""
        if not self.reads:
            return ("it was done by an earlier secateur, which did not say what it read",)
        read = [_change(name, self.reads, reads) for name in {**self.reads, **reads}]
        written = [
            f"{name} was changed" if (folder / name).is_file() else f"{name} is missing"
            for name, digest in self.outputs.items()
            if not (folder / name).is_file() or sha256_once(folder / name) != digest
        ]
        return (*filter(None, read), *written)


@dataclass(frozen=True)
class Manifest:
    """manifest.json: the finished stages by name."""

    stages: dict[str, Entry]


def _change(name: str, before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What changed in one thing that a stage reads; empty where nothing did."""
    old, new = before.get(name), now.get(name)
    if old == new:
        return ""
    if old is None or new is None:
        return f"{name} is {'new' if old is None else 'no longer read'}"
    return f"{name} changed" if _DIGEST.fullmatch(old) else f"{name} changed from {old} to {new}"


def read_manifest(folder: Path) -> dict[str, Entry]:
    """The finished stages of a run directory, by name; empty for a new one.

    Raises `RunError` for a damaged one, and for outputs outside the folder: what a stage wrote before is removed.
    """
    path = folder / NAME
    if not path.exists():
        return {}
    stages = read_record(path, KIND, Manifest, RunError, "delete it to run all stages again").stages
    for name in (name for entry in stages.values() for name in entry.outputs):
        parts = PurePath(name).parts
        if not parts or PurePath(name).is_absolute() or ".." in parts or len(name) > LONGEST:
            raise RunError(
                f"{path} has the output {name[:LONGEST]!r}, but outputs are files inside the folder: "
                "delete it to run all stages again"
            )
    return stages


def write_manifest(folder: Path, stages: Mapping[str, Entry]) -> None:
    """Writes the manifest, atomically."""
    write_json(folder / NAME, KIND, {"stages": {name: asdict(entry) for name, entry in stages.items()}})


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that decide a run's result; absent ones are left out."""
    found = {name: version for name, version in packages.versions().items() if version}
    return {"python": platform.python_version(), **found}
