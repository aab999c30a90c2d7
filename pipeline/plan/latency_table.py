"""Latency tables: how much time each layer type saves at each width on one target, and what a plan will take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from secateur.benchmarks.environment import Environment
from secateur.core.errors import PlanError
from secateur.core.files import read_json, write_json
from secateur.core.records import parse_record
from secateur.pipeline.structure.groups import Groups, Kept, Term


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
class OperationCurve:
    """What `operations` (terms of `Groups`) take less in `precision`, all together, at rising shares of their MACs.

    `macs` are those of each operation of the dense model, in whose proportion they save. The first share is 0 and the
    last is 1; `low_ms` and `high_ms` are the 95 % interval of each saving.
    """

    precision: str
    operations: tuple[str, ...]
    macs: tuple[float, ...]
    shares: tuple[float, ...]
    saved_ms: tuple[float, ...]
    low_ms: tuple[float, ...]
    high_ms: tuple[float, ...]

    def saving_ms(self, term: Term, kept: Kept) -> float:
        """The saving of one operation with the `kept` units; 0 for one that is not among them."""
        if term.name not in self.operations:
            return 0.0
        dense = self.macs[self.operations.index(term.name)]
        saved = float(np.interp(term.count(kept) / dense, self.shares, self.saved_ms))
        return saved * dense / sum(self.macs)


@dataclass(frozen=True)
class LatencyTable:
    """Latencies of a model's parts on one target, with the environment that they were measured in.

    `fingerprint` is that of the model's `Groups`; the dense model takes `dense_ms` for a batch of `batch`, in the
    precision `wide`, as all `curves` are. `operations` say what narrower precisions save besides; a table without
    them knows `wide` alone.

    >>> table = sc.profile(model, groups, "torch:cpu", kinds=("mlp_hidden",), align=32, seconds=0.05)
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
    wide: str = "fp32"
    operations: tuple[OperationCurve, ...] = ()

    def predict_ms(self, groups: Groups, kept: Kept, precisions: Mapping[str, str] = MappingProxyType({})) -> float:
        """The latency of the model with only the `kept` units: the savings of all its groups, added up.

        A head that goes takes its dimensions along, so that dimensions of removed heads are not counted twice. What
        operations save in the `precisions` of their names is taken off too. Never less than nothing.
        """
        curves = {curve.family: curve for curve in self.curves}
        saved = 0.0
        for group in groups:
            if group.name in kept and group.family in curves:
                saved += curves[group.family].saving_ms(_share(groups, group.name, kept))
        for term in groups.terms:
            saved += self.narrow_saving_ms(term, kept, precisions.get(term.name, self.wide))
        return max(self.dense_ms - saved, 0.0)

    def narrow_saving_ms(self, term: Term, kept: Kept, precision: str) -> float:
        """What an operation takes less in `precision` than in `wide` with the `kept` units; 0 where it cannot be in it.

        Raises `PlanError` where nothing was measured in that precision.
        """
        if precision == self.wide:
            return 0.0
        curves = [curve for curve in self.operations if curve.precision == precision]
        if not curves:
            there = sorted({self.wide, *(curve.precision for curve in self.operations)})
            raise PlanError(
                f"the latency table has times in {', '.join(there)}, but none in {precision}: measure it anew with "
                "`secateur profile`, which times the precisions of the recipe where plan.allocate is joint"
            )
        return sum(curve.saving_ms(term, kept) for curve in curves)

    def has(self, wide: str, narrow: str) -> bool:
        """Whether it says what operations save in `narrow` where the others are in `wide`."""
        return self.wide == wide and any(curve.precision == narrow for curve in self.operations)

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
