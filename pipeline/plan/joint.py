"""Fewer units and fewer bits under one budget of bit-operations."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from secateur.core.errors import PlanError
from secateur.export.graph_types import bit_ops
from secateur.export.quantize.placement import NARROWEST
from secateur.pipeline.plan.allocation import Order, Problem, allocation
from secateur.pipeline.plan.budget import WIDE, Budget
from secateur.pipeline.plan.sensitivity import Curve, Sensitivity, curves, ranked
from secateur.pipeline.structure.groups import Groups

NARROW = "int8"
"""What an operation can be in besides fp32."""


@allocation("joint")
class Joint(Sensitivity):
    """Each operation takes fp32 or int8 and each group a width, by what either costs the same measured objective.

    Operations are ranked by what the objective rises by in 8 bits for each bit-operation saved, and groups have the
    curves of `sensitivity`. For every number of operations in 8 bits, in that order, the units go that cost least
    until the budget is met; of these, the sum of all rises decides (they are taken to add up, as in HAWQ, 1911.03852),
    and then single operations change their type as long as that lowers it.
    The budget is one of `bit_ops`. No group becomes narrower than what 8 bits pay for.
    """

    fewest: ClassVar[int] = NARROWEST
    needs: ClassVar[tuple[str, ...]] = ("objective", "precision_losses")

    def decide(self, problem: Problem) -> tuple[Problem, Order]:
        """The problem with its operations in int8, and the steps in the order of the curves; raises `PlanError` where
        no choice meets the budget.
        """
        losses = problem.instruments.precision_losses or {}
        macs = {term.name: term.count({}) for term in problem.groups.terms}
        saved = {name: bit_ops(macs[name], WIDE) - bit_ops(macs[name], NARROW) for name in losses if name in macs}
        ranking = sorted(saved, key=lambda name: losses[name] / max(saved[name], 1.0))
        measured = curves(problem)
        gone = _terms_gone(problem, measured)

        def planned(narrow: Collection[str]) -> Problem:
            return replace(problem, precisions=dict.fromkeys(sorted(narrow), NARROW))

        def total(narrow: Collection[str]) -> float:
            chosen = planned(narrow)
            return _lost(chosen, measured, _order(chosen, measured, gone)) + sum(losses[name] for name in narrow)

        least, best = min((total(ranking[:count]), count) for count in range(len(ranking) + 1))
        if least == math.inf:
            raise PlanError(
                f"the budget of {problem.limit():.4g} bit-operations cannot be met with all {len(ranking)} operations "
                f"that can be in {NARROW}, and everything gone that may go: allow more kinds or a larger budget"
            )
        narrow, better = set(ranking[:best]), True
        while better:
            better = False
            for name in ranking:
                if (other := total(narrow ^ {name})) < least:
                    narrow, least, better = narrow ^ {name}, other, True
        return planned(narrow), _order(planned(narrow), measured, gone)

    def narrowest(self, groups: Groups) -> Mapping[str, str]:
        """Every operation in int8."""
        return {term.name: NARROW for term in groups.terms}

    def check(self, budget: Budget) -> None:
        if budget.measure != "bit_ops":
            raise PlanError(
                f"the allocation 'joint' weighs units against bits, but the budget is of {budget.measure}: give "
                "budget.bit_ops, the share of the dense model's bit-operations in fp32"
            )
        if self.least is not None and self.least < self.fewest:
            raise PlanError(
                f"plan.least is {self.least}, but products of fewer than {self.fewest} units are not in int8: give "
                f"{self.fewest} or more, or leave it out"
            )


def _terms_gone(problem: Problem, measured: Mapping[str, Curve]) -> dict[str, NDArray[np.float64]]:
    """For each group the MACs `[counts, terms]` that go at the counts of its curve, whatever their precision."""
    terms = problem.groups.terms
    dense = np.array([term.count({}) for term in terms])
    return {
        name: np.array([dense - [term.count(problem.without(name, count)) for term in terms] for count in curve.counts])
        for name, curve in measured.items()
    }


def _order(problem: Problem, measured: Mapping[str, Curve], gone: Mapping[str, NDArray[np.float64]]) -> Order:
    """The steps by the rise of the objective for each bit-operation, at the precisions of the problem."""
    each = np.array([bit_ops(1.0, problem.precisions.get(term.name, WIDE)) for term in problem.groups.terms])
    saved = {name: (macs @ each).tolist() for name, macs in gone.items()}
    return [step for *_, step in ranked(problem, measured, saved)]


def _lost(problem: Problem, measured: Mapping[str, Curve], order: Order) -> float:
    """What the objective rises by where units go in this order until the budget is met; infinite if they cannot."""
    limit = problem.limit()

    def taken(count: int) -> Counter[str]:
        return Counter(step.group for step in order[:count])

    def cost(count: int) -> float:
        kept: dict[str, Sequence[int]] = {}
        for name, steps in taken(count).items():
            kept.update(problem.without(name, steps))
        return problem.cost(kept)

    if cost(len(order)) > limit:
        return math.inf
    count = bisect_left(range(len(order)), True, key=lambda steps: cost(steps) <= limit)
    return sum(measured[name].rises[steps] for name, steps in taken(count).items())
