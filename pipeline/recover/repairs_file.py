"""repairs.json: what the closed-form repair of a model did to each layer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from secateur.core.records import read_record, write_record
from secateur.pipeline.recover.ridge import Repair


@dataclass(frozen=True)
class RepairsFile:
    """The repairs of all `layers`, in the order in which they were made."""

    layers: tuple[Repair, ...]

    @staticmethod
    def load(path: Path) -> RepairsFile:
        """What a repairs.json says; raises `RunError` for a file that is none."""
        return read_record(path, "repairs", RepairsFile)

    def save(self, path: Path) -> None:
        """Writes repairs.json, atomically."""
        write_record(path, "repairs", self)
