"""Latency tables: how much time each layer type saves at each width on one target, and what a plan will take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from secateur.benchmarks.environment import Environment
from secateur.core.errors import PlanError
from secateur.core.files import read_json, write_json
from secateur.core.records import parse_record
from secateur.pipeline.structure.groups import Groups, Kept


@dataclass(frozen=True)
class Curve:
    """What one group of a family takes less than a dense one, at rising shares of its units kept; the last is 1.

    `low_ms` and `high_ms` are the 95 % interval of each saving.
    """

    family: str
    shares: tuple[float, ...]
    saved_ms: tuple[float, ...]
    low_ms: tuple[float, ...]
    high_ms: tuple[float, ...]

    def saving_ms(self, share: float) -> float:
        """The saving at any share, linear between the measured ones and never rising with the share."""
        return float(np.interp(share, self.shares, falling(self.saved_ms)))


@dataclass(frozen=True)
class LatencyTable:
    """Latencies of a model's parts on one target, with the environment that they were measured in.

    `fingerprint` is that of the model's `Groups`; the dense model takes `dense_ms` for a batch of `batch`.

    >>> table = sc.profile(model, groups, "torch:cpu", kinds=("mlp_hidden",), seconds=0.05)
    >>> table.save(Path("latency.json"))
    >>> sc.LatencyTable.load(Path("latency.json")) == table
    True
    """

    target: str
    batch: int
    fingerprint: str
    dense_ms: float
    curves: tuple[Curve, ...]
    environment: Environment

    def predict_ms(self, groups: Groups, kept: Kept) -> float:
        """The latency of the model with only the `kept` units: the savings of all its groups, added up.

        A head that goes takes its dimensions along, so that dimensions of removed heads are not counted twice.
        Never less than nothing.
        """
        curves = {curve.family: curve for curve in self.curves}
        saved = 0.0
        for group in groups:
            if group.name in kept and group.family in curves:
                saved += curves[group.family].saving_ms(_share(groups, group.name, kept))
        return max(self.dense_ms - saved, 0.0)

    def save(self, path: Path) -> None:
        """Writes the table as JSON."""
        write_json(path, "latency", asdict(self))

    @staticmethod
    def load(path: Path) -> LatencyTable:
        """The table in a file; raises `RunError` for a file that is none."""
        where, remedy = f"{path} holds no latency table", "measure it with `secateur profile`"
        return parse_record(LatencyTable, read_json(path, "latency"), where, remedy=remedy)

    def check(self, groups: Groups, target: str) -> None:
        """Raises `PlanError` when the table is of another model or target."""
        if self.fingerprint != groups.fingerprint():
            raise PlanError("the latency table was measured for another model: measure it with `secateur profile`")
        if self.target != target:
            raise PlanError(
                f"the latency table is of {self.target}, but the budget's target is {target}: measure it with "
                f"`secateur profile --target {target}`"
            )


def falling(values: Sequence[float]) -> NDArray[np.float64]:
    """The nearest values (least squares) that never rise."""
    from scipy.optimize import isotonic_regression  # slow to import, and most plans have no latency

    found: NDArray[np.float64] = isotonic_regression(values, increasing=False).x
    return found


def _share(groups: Groups, name: str, kept: Kept) -> float:
    """The share of a group's units that stays; of dimensions, the share in the heads that stay."""
    group = groups.named(name)
    possible = group.units
    if group.parent in kept:
        possible = len(kept[group.parent]) * group.units // group.blocks
    return len(kept[name]) / possible if possible else 1.0
