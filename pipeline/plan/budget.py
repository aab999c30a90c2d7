"""What the small model may cost, as a fraction of the dense one or as an absolute number."""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, get_args

from secateur.core.errors import PlanError, naming
from secateur.export.graph_types import bit_ops
from secateur.export.targets import parse_target
from secateur.pipeline.plan.latency_table import LatencyTable
from secateur.pipeline.structure.groups import Groups, Kept, Term

UNITS = {"K": 1e3, "M": 1e6, "G": 1e9}
Measure = Literal["macs", "params", "units", "bit_ops", "latency"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
ABSOLUTE: Mapping[Measure, str] = {
    "macs": "600M or 1.2G",
    "params": "2.5M",
    "units": "",
    "bit_ops": "",
    "latency": "2.5ms",
}
"""Examples of absolute budgets; a number of units or bit-operations can only be a fraction."""
WIDE = "fp32"
"""The precision of every product of which nothing else is said."""


@dataclass(frozen=True)
class Budget:
    """At most so many MACs, parameters, units or bit-operations, or so much latency on a target; exactly one is given.

    A number in (0, 1) is a fraction of the dense model; a string such as `600M` or `1.2G` is absolute. `units` is
    the fraction of the units of the groups that may be pruned, whatever they cost. `bit_ops` is the fraction of the
    bit-operations (BOPs: MACs times the bits of both operands) of the dense model in fp32: it may be met by fewer units
    or by fewer bits (`plan.allocate: joint`), as a latency may. A latency (a fraction, or such as
    `2.5ms`) goes with its `target`, and with the table that `profile` measured there. Raises `PlanError` for another
    number of measures or a value out of its range, and `EngineError` for an unknown target.

    >>> sc.Budget(params="2M").measure
    'params'
    >>> sc.Budget(latency=0.6, target="onnxruntime:cpu").measure
    'latency'
    """

    macs: float | str | None = None
    """The most multiply-accumulates: a fraction of the dense model's between 0 and 1, or absolute, such as `600M`."""
    params: float | str | None = None
    """The most parameters: a fraction of the dense model's between 0 and 1, or absolute, such as `2.5M`."""
    units: float | None = None
    """The most units of the groups that may be pruned, as a fraction of them, whatever they cost."""
    bit_ops: float | None = None
    """The most bit-operations (MACs times the bits of both operands), as a fraction of the dense model's in fp32; met
    by fewer units or by fewer bits (`plan.allocate: joint`).
    """
    latency: float | str | None = None
    """The most latency on `target`: a fraction of the dense model's between 0 and 1, or absolute, such as `2.5ms`."""
    target: str | None = None
    """Where a budget of latency is measured, such as `onnxruntime:cpu`; only such a budget has one."""

    def __post_init__(self) -> None:
        given = [name for name in MEASURES if getattr(self, name) is not None]
        if len(given) != 1:
            words = ", ".join(given) or "none"
            raise PlanError(f"a budget needs exactly one of {', '.join(MEASURES)}, but got {words}")
        if (self.latency is None) != (self.target is None):
            raise PlanError("a budget of latency needs the target it is measured on, and only a latency has a target")
        if self.target is not None:
            with naming("budget.target"):
                parse_target(self.target)
        self._parse()

    @property
    def measure(self) -> Measure:
        """What is counted."""
        return next(name for name in MEASURES if getattr(self, name) is not None)

    def limit(self, groups: Groups, names: list[str], table: LatencyTable | None = None) -> float:
        """The most that the small model may cost: MACs, parameters, units of the groups `names`, bit-operations of a
        model in fp32, or milliseconds.
        """
        value, absolute = self._parse()
        dense = self.cost(groups, {}, names, table)
        if absolute and value >= dense:
            raise PlanError(
                f"the budget {self.measure} = {value:.4g} is no less than the dense model's {dense:.4g}: give less"
            )
        return value if absolute else value * dense

    def cost(
        self,
        groups: Groups,
        kept: Kept,
        names: list[str],
        table: LatencyTable | None = None,
        precisions: Mapping[str, str] = MappingProxyType({}),
    ) -> float:
        """What a choice costs, in the budget's own measure; raises `PlanError` for a latency without its table.

        `precisions` are those of the terms of `groups` that are not in fp32 (of a latency: in the table's wide type);
        they count as bit-operations and as latency.
        """
        if self.measure == "latency":
            if table is None:
                raise PlanError(
                    f"a latency budget needs the latencies of {self.target}: measure with `secateur profile`"
                )
            table.check(groups, str(self.target))
            return table.predict_ms(groups, kept, precisions)
        if self.measure == "macs":
            return groups.macs(kept)
        if self.measure == "bit_ops":
            return sum(bit_ops(term.count(kept), precisions.get(term.name, WIDE)) for term in groups.terms)
        if self.measure == "params":
            return float(groups.params(kept))
        return float(sum(len(kept[name]) if name in kept else groups.named(name).units for name in names))

    def term_saving(self, term: Term, kept: Kept, wide: str, narrow: str, table: LatencyTable | None = None) -> float:
        """What one operation costs less in the precision `narrow` than in `wide`; nothing for other measures."""
        if self.measure == "bit_ops":
            macs = term.count(kept)
            return bit_ops(macs, wide) - bit_ops(macs, narrow)
        if self.measure == "latency" and table is not None:
            return table.narrow_saving_ms(term, kept, narrow) - table.narrow_saving_ms(term, kept, wide)
        return 0.0

    def _parse(self) -> tuple[float, bool]:
        given = getattr(self, self.measure)
        absolute = ABSOLUTE[self.measure]
        allowed = "a fraction between 0 and 1" + (
            f", or an absolute number with a unit such as {absolute}" * bool(absolute)
        )
        wrong = PlanError(f"the budget {self.measure} is {given!r}, but must be {allowed}")
        if isinstance(given, str):
            text = given.strip()
            ends = {"ms": 1.0} if self.measure == "latency" else UNITS
            end = next((end for end in ends if text.upper().endswith(end.upper())), "")
            factor = ends.get(end)
            try:
                number = float(text[: len(text) - len(end)])
            except ValueError:
                raise wrong from None
            if factor and absolute and 0 < number < math.inf:
                return number * factor, True
        elif isinstance(given, int | float):
            number = float(given)
        else:
            raise wrong
        if not 0 < number < 1:
            raise wrong
        return number, False


def clear_other_measures(content: MutableMapping[str, Any], key: str) -> None:
    """Makes room in a recipe's budget for `key`: one measure replaces another, and a `target` goes with a latency."""
    if key in MEASURES:
        for other in MEASURES:
            if other != key:
                content.pop(other, None)
        if key != "latency":
            content.pop("target", None)
