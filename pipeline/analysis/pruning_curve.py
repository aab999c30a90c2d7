"""Accuracy against the pruning rate and against MACs, for one set of scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from secateur.core.errors import PlanError, SurgeryError, near_matches
from secateur.pipeline.analysis.accuracy import count_right
from secateur.pipeline.data.loader import Batches
from secateur.pipeline.plan.allocation import NEEDED
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.plan.make import allocation_of, make_plan
from secateur.pipeline.scores.score import Scores
from secateur.pipeline.structure.groups import KINDS, LAYER_KINDS, Groups
from secateur.pipeline.structure.masking import masked
from secateur.pipeline.structure.plan import Plan
from secateur.pipeline.structure.surgery import prune

RATES = tuple(round(0.05 * step, 2) for step in range(20))
"""The pruning rates of Pruning by eXplaining: 0 to 95 %."""


@dataclass(frozen=True)
class Point:
    """The share of units removed, and what is left: MACs a sample, parameters, top-1 in percent."""

    rate: float
    macs: float
    params: int
    top1: float


@dataclass(frozen=True)
class Shape:
    """How units are removed along a curve: their kinds, how the rate is shared out, at which rates."""

    kinds: tuple[str, ...] = ("head", "mlp_hidden", "channel")
    allocate: str = "global"
    rates: tuple[float, ...] = RATES

    def __post_init__(self) -> None:
        if not self.rates or any(not 0 <= rate < 1 for rate in self.rates):
            raise PlanError(f"the pruning rates are {list(self.rates)}, but must be one or more of 0 up to below 1")
        chosen = allocation_of(self.allocate, {"align": 1, "kinds": self.kinds})
        for kind in (kind for kind in self.kinds if kind in LAYER_KINDS):
            raise PlanError(
                f"a curve removes units of layers, not whole ones, but its kinds have {kind!r}: they may be "
                f"{', '.join(KINDS)}{near_matches(kind, KINDS)}"
            )
        for need in chosen.needs:
            raise PlanError(f"a curve cannot be shared out by {self.allocate!r}, which {NEEDED[need].split(':')[0]}")

    def plan(self, groups: Groups, scores: Scores, rate: float) -> Plan:
        """The plan that removes the share `rate` of the units, the least important first, unaligned."""
        if rate == 0:
            return Plan({}, groups.fingerprint(), groups.inputs)
        return make_plan(groups, scores, Budget(units=1 - rate), self.allocate, align=1, kinds=self.kinds)


def curve(
    model: nn.Module,
    groups: Groups,
    scores: Scores,
    loader: Batches,
    shape: Shape | None = None,
    verify: bool = True,
    classes: Sequence[int] | None = None,
    known: Mapping[float, Point] | None = None,
) -> Iterator[Point]:
    """The points of one curve, rate by rate; those in `known` are not measured again.

    Units are really removed, and accuracy is that of the smaller model. With `verify` the dense model with the same
    units masked is measured too, and `SurgeryError` is raised when the two differ by more than rounding can explain
    (one image in a thousand, one at least). `classes` restricts the predictions, as `count_right` does.

    >>> point = next(sc.curve(model, groups, scores, loader))
    >>> point.rate, point.top1 == sc.accuracy(model, loader)
    (0.0, True)
    """
    shape = shape or Shape()
    for rate in shape.rates:
        if known and rate in known:
            yield known[rate]
            continue
        plan = shape.plan(groups, scores, rate)
        small = prune(model, plan, groups) if plan.kept else model
        right, count = count_right(small, loader, classes)
        if verify and plan.kept:
            again, _ = count_right(masked(model, groups, plan), loader, classes)
            if abs(again - right) > max(1, count // 1000):
                raise SurgeryError(
                    f"at a pruning rate of {rate:.0%} the removed model has {right} of {count} images right, the "
                    f"masked one {again}: they must agree; report the model and the plan"
                )
        yield Point(rate, groups.macs(plan.kept), groups.params(plan.kept), 100.0 * right / count)


def a_pr(points: Iterable[Point]) -> float:
    """A_PR, the mean top-1 in percent over the pruning rates (Pruning by eXplaining, sec. 4.1)."""
    values = [point.top1 for point in points]
    if not values:
        raise PlanError("A_PR needs the top-1 of at least one pruning rate, but got none")
    return sum(values) / len(values)
