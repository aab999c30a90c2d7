"""The least loss under the budget, as a multiple-choice knapsack."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp

from secateur.core.errors import PlanError
from secateur.pipeline.plan.allocation import Allocation, Order, Problem, allocation

ROUNDS = 12
NODES = 200  # a limit of seconds would make plans depend on the machine; most need a single node
GAP = 1e-3  # closer to the best solution, the solver takes ten times as long
MOST_CHOICES = 64
"""At most so many widths of a group are weighed; `fit_budget` takes single steps back afterwards."""


@allocation("knapsack")
class Knapsack(Allocation):
    """Each group takes one width, so that the scores that go are the least for what they save.

    A binary variable for each group and number of removal steps; the scores must compare between groups (those of
    `obs` do: they are losses). What a width saves is measured on the group alone. Groups that multiply each other
    (heads and their dimensions) save less together, so the limit of the linear problem is tightened until the true
    cost fits. Solved with HiGHS, to within `GAP` of the best or for `NODES` nodes, whatever the machine.

    >>> plan = sc.make_plan(groups, scores, sc.Budget(macs=0.5), sc.Knapsack(align=4, kinds=("mlp_hidden", "v_dim")))
    >>> plan.facts.allocate, plan.facts.align
    ('knapsack', 4)
    """

    def order(self, problem: Problem) -> Order:
        """The steps to the chosen widths, then the others; raises `PlanError` when the solver finds nothing."""
        names = list(problem.steps)
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
            found = solve(losses, savings, asked)
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
        return gone + sorted(rest, key=lambda step: step.score)


def choices(steps: int) -> NDArray[np.int64]:
    """The numbers of removal steps that are weighed, from none to all of `steps`."""
    return np.unique(np.linspace(0, steps, min(steps, MOST_CHOICES) + 1).round().astype(np.int64))


def solve(losses: list[NDArray[np.float64]], savings: list[NDArray[np.float64]], asked: float) -> list[int]:
    """For each group, which of its choices gives the least sum of losses with savings of at least `asked` in all.

    Scores may be negative (signed relevance). Raises `PlanError` when there is no solution.
    """
    sizes = [len(part) for part in losses]
    value, saved = np.concatenate(losses), np.concatenate(savings)
    one_each = np.zeros((len(sizes), len(value)))
    for row, (size, end) in enumerate(zip(sizes, np.cumsum(sizes), strict=True)):
        one_each[row, end - size : end] = 1
    scale, unit = max(float(np.abs(value).max()), 1e-300), max(float(saved.max()), 1e-300)
    result = milp(
        value / scale,
        constraints=[
            LinearConstraint(one_each, 1, 1),
            LinearConstraint(saved[None] / unit, asked / unit * (1 - 1e-9), np.inf),
        ],
        integrality=np.ones(len(value)),
        bounds=Bounds(0, 1),
        options={"node_limit": NODES, "mip_rel_gap": GAP},
    )
    if result.x is None:
        raise PlanError(f"the knapsack has no solution ({result.message}); use allocate: global, or a larger budget")
    ends = np.cumsum(sizes)
    return [int(np.argmax(result.x[end - size : end])) for size, end in zip(sizes, ends, strict=True)]
