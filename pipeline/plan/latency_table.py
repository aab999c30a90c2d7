"""Latency tables: how much time each layer type saves at each width on one target, and what a plan will take."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
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

NOISE = 0.1
"""Half an interval, as a share of the dense model's time, from which on a saving that is not larger is noise."""
NAMED = 3
"""Entries that a sentence names; it counts the others."""


@dataclass(frozen=True)
class Curve:
    """What one group of a family takes less than a dense one, at rising shares of its units kept; the last is 1.

    `low_ms` and `high_ms` are the 95 % interval of each saving. Where it covers zero, no saving is promised.
    """

    family: str
    shares: tuple[float, ...]
    saved_ms: tuple[float, ...]
    low_ms: tuple[float, ...]
    high_ms: tuple[float, ...]

    def saving_ms(self, share: float) -> float:
        """The saving at any share, linear between the promised ones and never rising with the share."""
        return float(np.interp(share, self.shares, falling(self.promised_ms)))

    @property
    def promised_ms(self) -> tuple[float, ...]:
        """The savings that are shown; 0 for the others."""
        return _promised(self.saved_ms, self.low_ms, self.high_ms)


@dataclass(frozen=True)
class OperationCurve:
    """What `operations` (terms of `Groups`) take less in `precision`, all together, at rising shares of their MACs.

    `macs` are those of each operation of the dense model, in whose proportion they save. The first share is 0 and the
    last is 1; `low_ms` and `high_ms` are the 95 % interval of each saving, which is not promised where it covers zero.
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
        shown = _promised(self.saved_ms, self.low_ms, self.high_ms)
        saved = float(np.interp(term.count(kept) / dense, self.shares, shown))
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
        """Raises `PlanError` when the table is of another model or target, or too noisy to plan with."""
        if self.fingerprint != groups.fingerprint():
            raise PlanError("the latency table was measured for another model: measure it with `secateur profile`")
        if self.target != target:
            raise PlanError(
                f"the latency table is of {self.target}, but the budget's target is {target}: measure it with "
                f"`secateur profile --target {target}`"
            )
        if noise := self.noise(groups):
            raise PlanError(noise)

    def noise(self, groups: Groups) -> str:
        """One sentence on entries whose noise is larger than their effect, and what to do; empty where none is.

        Such an entry saves more than the whole model takes, or its interval is both wider than its saving and wide
        beside the model's time (`NOISE`). The same is asked of all families together, narrowed as far as was measured.
        """
        members = Counter(group.family or group.name for group in groups)
        doubts, effect, variance = [], 0.0, 0.0
        for name, entries in self._entries(members):
            for share, saved, half in entries:
                if saved > self.dense_ms:
                    doubts.append(f"{name} at {share:.0%} saves {saved:.3f} ms of a model of {self.dense_ms:.3f} ms")
                elif self._drowns(saved, half):
                    doubts.append(f"{name} at {share:.0%} saves {saved:+.3f} ms, give or take {half:.3f}")
            _, saved, half = entries[0]
            effect, variance = effect + saved * (saved > half), variance + half**2
        if not doubts and self._drowns(effect, math.sqrt(variance)):
            doubts = [
                f"all families together are shown to save {effect:.3f} ms, give or take {math.sqrt(variance):.3f}"
            ]
        if not doubts:
            return ""
        more = f"; and {len(doubts) - NAMED} more" if len(doubts) > NAMED else ""
        return (
            f"the latency table of {self.target} is too noisy to plan with ({'; '.join(doubts[:NAMED])}{more}): "
            "measure it again with `secateur profile`, on a machine that does nothing else, and for longer "
            "(--seconds 10)"
        )

    def _drowns(self, saved_ms: float, half_ms: float) -> bool:
        return half_ms > max(abs(saved_ms), NOISE * self.dense_ms)

    def _entries(self, members: Mapping[str, int]) -> Iterator[tuple[str, list[tuple[float, float, float]]]]:
        """Of each family, the largest change first: shares, the saving of all members, and half of its interval."""
        for curve in self.curves:
            count = members[curve.family]
            values = zip(curve.shares, curve.saved_ms, curve.low_ms, curve.high_ms, strict=True)
            found = [
                (share, count * saved, count * (high - low) / 2) for share, saved, low, high in values if share < 1
            ]
            if found:
                yield curve.family, found
        for one in self.operations:
            values = zip(one.shares, one.saved_ms, one.low_ms, one.high_ms, strict=True)
            found = [(share, saved, (high - low) / 2) for share, saved, low, high in values if share > 0]
            if found:
                yield f"{one.operations[0]} and {len(one.operations) - 1} more in {one.precision}", found[::-1]


def _promised(saved: Sequence[float], low: Sequence[float], high: Sequence[float]) -> tuple[float, ...]:
    """The savings, and 0 for those whose interval covers zero."""
    return tuple(0.0 if below <= 0 <= above else one for one, below, above in zip(saved, low, high, strict=True))


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
