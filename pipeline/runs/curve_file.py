"""curve.json: accuracy against the pruning rate, of several methods and seeds on one run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from secateur.core.records import read_record, write_record
from secateur.pipeline.analysis.pruning_curve import Point, a_pr


@dataclass(frozen=True)
class DenseCost:
    """What the dense model costs: MACs a sample, and parameters."""

    macs: float
    params: int


@dataclass(frozen=True)
class TracedCurve:
    """The points of one line and seed, and their A_PR once all are there; `options` is the hash of the method's."""

    label: str
    seed: int
    options: str
    a_pr: float | None = None
    points: tuple[Point, ...] = ()

    @property
    def key(self) -> tuple[str, int, str]:
        """What tells it from the others of its file."""
        return self.label, self.seed, self.options

    def finished(self) -> TracedCurve:
        """The curve with its A_PR."""
        return TracedCurve(*self.key, a_pr(self.points) if self.points else None, self.points)


@dataclass(frozen=True)
class CurveFile:
    """The curves of one `setting` (the hash of what all have in common): units of `kinds`, shared out by `allocate`,
    accuracy on so many held-out `images`.
    """

    setting: str
    kinds: tuple[str, ...]
    allocate: str
    images: int
    dense: DenseCost
    curves: tuple[TracedCurve, ...] = ()

    @staticmethod
    def load(path: Path) -> CurveFile:
        """What a curve.json says; raises `RunError` for a file that is none."""
        return read_record(path, "curve", CurveFile)

    def save(self, path: Path) -> None:
        """Writes curve.json, atomically."""
        write_record(path, "curve", self)
