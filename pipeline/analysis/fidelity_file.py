"""fidelity.json: how far a run's models agree on the evidence, image by image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from secateur.core.records import read_record, write_record
from secateur.pipeline.analysis.fidelity import Fidelity


@dataclass(frozen=True)
class ShownExample:
    """The place of an image that is shown, and the class that its maps explain."""

    index: int
    explained: int


@dataclass(frozen=True)
class FidelityFile:
    """fidelity.json: the mean agreement of both models' maps, that of every image, which ones are shown, and of what.

    The `rules` are those of the maps; of a file that does not say, none.
    """

    mean_cosine: float
    mean_rank: float
    cosine: tuple[float, ...]
    rank: tuple[float, ...]
    examples: tuple[ShownExample, ...]
    rules: str = ""

    @staticmethod
    def of(found: Fidelity, rules: str = "") -> FidelityFile:
        """What the file says of a fidelity by some rules."""
        shown = tuple(ShownExample(example.index, example.explained) for example in found.examples)
        return FidelityFile(found.mean_cosine, found.mean_rank, found.cosine, found.rank, shown, rules)

    def save(self, path: Path) -> None:
        """Writes fidelity.json, atomically."""
        write_record(path, "fidelity", self)

    @staticmethod
    def load(path: Path) -> FidelityFile:
        """What a fidelity.json says; raises `RunError` for a file that is none."""
        return read_record(path, "fidelity", FidelityFile)
