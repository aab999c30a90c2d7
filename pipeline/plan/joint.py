"""Fewer units and fewer bits under one budget of bit-operations or of latency."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from secateur.core.errors import PlanError, naming
from secateur.export.quantize.placement import NARROWEST
from secateur.export.targets import check_bits, parse_target
from secateur.pipeline.plan.allocation import Order, Problem, allocation
from secateur.pipeline.plan.budget import WIDE, Budget
from secateur.pipeline.plan.sensitivity import Curve, Sensitivity, curves, ranked
from secateur.pipeline.structure.groups import Kept

NARROW = "int8"
"""What an operation can be in besides the wide type."""
MEASURES = {"bit_ops": "bit-operations", "latency": "ms"}
"""The budgets that fewer bits help to meet, and their units."""


@allocation("joint")
class Joint(Sensitivity):
    """Each operation is wide or in int8 and each group has a width, by what either costs the same measured objective.

    Operations are ranked by what the objective rises by in 8 bits for each bit-operation or millisecond saved, and
    groups have the curves of `sensitivity`. For every number of operations in 8 bits, in that order, the units go that
    cost least until the budget is met; of these, the sum of all rises decides (they are taken to add up, as in HAWQ,
    1911.03852), and then single operations change their type as long as that lowers it. Operations that 8 bits make
    no faster stay wide. The budget is one of `bit_ops`, or a `latency` whose table has times in int8. No group becomes
    narrower than what 8 bits pay for.
    """

    fewest: ClassVar[int] = NARROWEST
    needs: ClassVar[tuple[str, ...]] = ("objective", "precision_losses")

    def decide(self, problem: Problem) -> tuple[Problem, Order]:
        """The problem with the precisions of its operations, and the steps in the order of the curves; raises
        `PlanError` where no choice meets the budget.
        """
        saved = _saved_by_bits(problem, {})
        losses = {name: loss for name, loss in (problem.instruments.precision_losses or {}).items() if name in saved}
        helpful = [name for name in losses if saved[name] > 0]
        ranking = sorted(helpful, key=lambda name: losses[name] / saved[name])
        measured = curves(problem)
        savings = {name: _savings(problem, name, curve) for name, curve in measured.items()}

        def total(narrow: Collection[str]) -> float:
            chosen = planned(problem, narrow)
            return _lost(chosen, measured, _order(chosen, measured, savings)) + sum(losses[name] for name in narrow)

        least, best = min((total(ranking[:count]), count) for count in range(len(ranking) + 1))
        if least == math.inf:
            raise PlanError(
                f"the budget of {problem.limit():.4g} {MEASURES[problem.budget.measure]} cannot be met with all "
                f"{len(ranking)} operations that {NARROW} helps, and everything gone that may go: allow more kinds or "
                "a larger budget"
            )
        narrow, better = set(ranking[:best]), True
        while better:
            better = False
            for name in ranking:
                if (other := total(narrow ^ {name})) < least:
                    narrow, least, better = narrow ^ {name}, other, True
        chosen = planned(problem, narrow)
        return chosen, _order(chosen, measured, savings)

    def cheapest(self, problem: Problem) -> Problem:
        """Every operation in int8 that this helps."""
        return planned(problem, [name for name, saved in _saved_by_bits(problem, {}).items() if saved > 0])

    def check(self, budget: Budget) -> None:
        if budget.measure not in MEASURES:
            raise PlanError(
                f"the allocation 'joint' weighs units against bits, but the budget is of {budget.measure}: give "
                "budget.bit_ops, the share of the dense model's bit-operations in fp32, or budget.latency with a target"
            )
        if budget.target is not None:
            target = parse_target(budget.target)
            if target.runtime == "torch":
                raise PlanError(
                    f"the allocation 'joint' plans operations in {NARROW}, but the budget's target {target} runs the "
                    "module as it is: give the target of a runtime, such as onnxruntime:cpu, or budget.bit_ops"
                )
            with naming("budget.target"):
                check_bits(target, NARROW)
        if self.least is not None and self.least < self.fewest:
            raise PlanError(
                f"plan.least is {self.least}, but products of fewer than {self.fewest} units are not in int8: give "
                f"{self.fewest} or more, or leave it out"
            )


def planned(problem: Problem, narrow: Collection[str]) -> Problem:
    """The problem with these operations in int8, and all others in its wide type."""
    wide = problem.instruments.wide
    others = [term.name for term in problem.groups.terms] if wide != WIDE else []
    return replace(problem, precisions={**dict.fromkeys(others, wide), **dict.fromkeys(sorted(narrow), NARROW)})


def _saved_by_bits(problem: Problem, kept: Kept) -> dict[str, float]:
    """What each operation alone costs less in int8, with the `kept` units."""
    return {
        term.name: problem.term_saving(term, kept, problem.instruments.wide, NARROW) for term in problem.groups.terms
    }


@dataclass(frozen=True)
class _Savings:
    """What a group saves at the counts of its curve: `wide` `[counts]` where all is wide, and what comes on top of that
    where an operation is in int8, `narrow` `[counts]` by its name.
    """

    wide: NDArray[np.float64]
    narrow: Mapping[str, NDArray[np.float64]]


def _savings(problem: Problem, name: str, curve: Curve) -> _Savings:
    wide, dense = planned(problem, ()), _saved_by_bits(problem, {})
    kept = [problem.without(name, count) for count in curve.counts]
    bits = [_saved_by_bits(problem, one) for one in kept]
    return _Savings(
        np.array([wide.cost({}) - wide.cost(one) for one in kept]),
        {term: np.array([one[term] - dense[term] for one in bits]) for term in dense},
    )


def _order(problem: Problem, measured: Mapping[str, Curve], savings: Mapping[str, _Savings]) -> Order:
    """The steps by the rise of the objective for each unit of cost, at the precisions of the problem."""
    narrow = [name for name, precision in problem.precisions.items() if precision == NARROW]
    saved = {name: sum((one.narrow[term] for term in narrow), start=one.wide).tolist() for name, one in savings.items()}
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
