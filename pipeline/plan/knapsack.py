"""The least loss under the budget, as a multiple-choice knapsack."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from secateur.pipeline.plan.allocation import Allocation, Order, Problem, allocation
from secateur.pipeline.plan.multiple_choice import least_loss

ROUNDS = 12
MOST_CHOICES = 512
"""At most so many widths of a group are weighed; `fit_budget` takes single steps back afterwards."""


@allocation("knapsack")
class Knapsack(Allocation):
    """Each group takes one width, so that the scores that go are the least for what they save.

    The scores must compare between groups (those of `obs` do: they are losses). What a width saves is measured on the
    group alone. Groups that multiply each other (heads and their dimensions) save less together, so the limit of the
    linear problem is tightened until the true cost fits. Each linear problem is solved exactly (`multiple_choice`), and
    groups are taken by name, so that a plan depends on the problem alone.

    >>> plan = sc.make_plan(groups, scores, sc.Budget(macs=0.5), sc.Knapsack(align=4, kinds=("mlp_hidden", "v_dim")))
    >>> plan.facts.allocate, plan.facts.align
    ('knapsack', 4)
    """

    def order(self, problem: Problem) -> Order:
        """The steps to the chosen widths, then the others, each by score; raises `PlanError` when there are none."""
        names = sorted(problem.steps)
        dense = problem.cost({})
        widths = [choices(len(problem.steps[name])) for name in names]
        losses = [
            np.cumsum([0.0, *(step.score * len(step.units) for step in problem.steps[name])])[counts]
            for name, counts in zip(names, widths, strict=True)
        ]
        savings = [
            np.array([dense - problem.cost(problem.without(name, int(count))) for count in counts])
            for name, counts in zip(names, widths, strict=True)
        ]
        limit = problem.limit()
        most = sum(float(part[-1]) for part in savings)
        asked = min(dense - limit, most)
        counts = [0] * len(names)
        for _ in range(ROUNDS):
            found = least_loss(losses, savings, asked)
            counts = [int(width[choice]) for width, choice in zip(widths, found, strict=True)]
            kept: dict[str, Sequence[int]] = {}
            for name, count in zip(names, counts, strict=True):
                kept.update(problem.without(name, count))
            over = problem.cost(kept) - limit
            if over <= 0 or asked >= most:
                break
            asked = min(asked + over, most)
        chosen = dict(zip(names, counts, strict=True))
        gone = [step for name in names for step in problem.steps[name][: chosen[name]]]
        rest = [step for name in names for step in problem.steps[name][chosen[name] :]]
        return [step for part in (gone, rest) for step in sorted(part, key=lambda step: step.score)]


def choices(steps: int) -> NDArray[np.int64]:
    """The numbers of removal steps that are weighed, from none to all of `steps`."""
    return np.unique(np.linspace(0, steps, min(steps, MOST_CHOICES) + 1).round().astype(np.int64))
