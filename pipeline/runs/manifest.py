"""The manifest of a run: for each finished stage what it read, what it wrote, and with which versions."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from secateur.core import packages
from secateur.core.errors import RunError
from secateur.core.files import read_json, sha256_file, write_json


@dataclass(frozen=True)
class Entry:
    """One finished stage: the hash of its inputs, the SHA-256 of each output, seconds, versions and the seed."""

    inputs: str
    outputs: Mapping[str, str]
    seconds: float
    versions: Mapping[str, str]
    seed: int

    def holds(self, folder: Path, inputs: str) -> bool:
        """Whether the stage need not run again: same inputs, and every output is there unchanged."""
        return self.inputs == inputs and all(
            (folder / name).is_file() and sha256_file(folder / name) == digest for name, digest in self.outputs.items()
        )


def read_manifest(folder: Path) -> dict[str, Entry]:
    """The finished stages of a run directory, by name; empty for a new one."""
    path = folder / "manifest.json"
    if not path.exists():
        return {}
    stages = read_json(path, "manifest").get("stages")
    if not isinstance(stages, dict):
        raise RunError(f"{path} has no stages: delete it to run all stages again")
    try:
        return {name: Entry(**entry) for name, entry in stages.items()}
    except TypeError as error:
        raise RunError(
            f"{path} has a stage that cannot be read ({error}): delete it to run all stages again"
        ) from error


def write_manifest(folder: Path, stages: Mapping[str, Entry]) -> None:
    """Writes the manifest, atomically."""
    write_json(
        folder / "manifest.json", "manifest", {"stages": {name: asdict(entry) for name, entry in stages.items()}}
    )


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that decide a run's result; absent ones are left out."""
    found = {name: version for name, version in packages.versions().items() if version}
    return {"python": platform.python_version(), **found}
