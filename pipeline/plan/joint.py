"""Fewer units and fewer bits under one budget of bit-operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from secateur.core.errors import PlanError
from secateur.export.quantize.bit_ops import bit_ops
from secateur.pipeline.plan.allocation import Order, Problem, allocation
from secateur.pipeline.plan.budget import WIDE, Budget
from secateur.pipeline.plan.sensitivity import Curve, Sensitivity, curves
from secateur.pipeline.structure.groups import Groups

NARROW = "int8"
"""What an operation can be in besides fp32."""


@allocation("joint")
class Joint(Sensitivity):
    """Each operation takes fp32 or int8 and each group a width, by what either costs the same measured objective.

    Operations are ranked by what the objective rises by in 8 bits for each bit-operation saved, and groups have the
    curves of `sensitivity`. For every number of operations in 8 bits, in that order, the units go that cost least
    until the budget is met; of these, the sum of all rises decides (they are taken to add up, as in HAWQ, 1911.03852).
    The budget is one of `bit_ops`.
    """

    needs: ClassVar[tuple[str, ...]] = ("objective", "precision_losses")

    def decide(self, problem: Problem) -> tuple[Problem, Order]:
        """The problem with its operations in int8, and the steps in the order of the curves; raises `PlanError` where
        no choice meets the budget.
        """
        losses = problem.instruments.precision_losses or {}
        macs = {term.name: term.count({}) for term in problem.groups.terms}
        saved = {name: bit_ops(macs[name], WIDE) - bit_ops(macs[name], NARROW) for name in losses if name in macs}
        ranking = sorted(saved, key=lambda name: losses[name] / max(saved[name], 1.0))
        measured, best = curves(problem), None
        for count in range(len(ranking) + 1):
            chosen = dict.fromkeys(ranking[:count], NARROW)
            pruned = self._pruned(replace(problem, precisions=chosen), measured)
            if pruned is not None:
                total = pruned + sum(losses[name] for name in chosen)
                best = min(best, (total, count)) if best else (total, count)
        if best is None:
            raise PlanError(
                f"the budget of {problem.limit():.4g} bit-operations cannot be met with all {len(ranking)} operations "
                f"that can be in {NARROW}, and everything gone that may go: allow more kinds or a larger budget"
            )
        problem = replace(problem, precisions=dict.fromkeys(ranking[: best[1]], NARROW))
        return problem, [step for *_, step in self.ranked(problem, measured)]

    def narrowest(self, groups: Groups) -> Mapping[str, str]:
        """Every operation in int8."""
        return {term.name: NARROW for term in groups.terms}

    def check(self, budget: Budget) -> None:
        if budget.measure != "bit_ops":
            raise PlanError(
                f"the allocation 'joint' weighs units against bits, but the budget is of {budget.measure}: give "
                "budget.bit_ops, the share of the dense model's bit-operations in fp32"
            )

    def _pruned(self, problem: Problem, measured: Mapping[str, Curve]) -> float | None:
        """What the objective rises by where units go until the budget is met; None where they cannot."""
        limit, ranked = problem.limit(), self.ranked(problem, measured)

        def kept(count: int) -> dict[str, Sequence[int]]:
            gone: dict[str, set[int]] = {}
            for *_, step in ranked[:count]:
                gone.setdefault(step.group, set()).update(step.units)
            return {n: [u for u in range(problem.groups.named(n).units) if u not in gone[n]] for n in gone}

        low, high = 0, len(ranked)
        if problem.cost(kept(high)) > limit:
            return None
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if problem.cost(kept(middle)) <= limit else (middle + 1, high)
        taken: dict[str, int] = {}
        for *_, step in ranked[:low]:
            taken[step.group] = taken.get(step.group, 0) + 1
        return sum(measured[name].rises[count] for name, count in taken.items())
