"""The least loss under the budget, as a multiple-choice knapsack."""

from __future__ import annotations

from collections.abc import Sequence

from secateur.pipeline.plan.allocation import Allocation, Order, Problem, allocation
from secateur.pipeline.plan.choices import classes_of
from secateur.pipeline.plan.multiple_choice import least_loss

ROUNDS = 12


@allocation("knapsack")
class Knapsack(Allocation):
    """Each group takes one width, so that the scores that go are the least for what they save.

    The scores must compare between groups (those of `obs` do: they are losses). What a width saves is measured on the
    group alone. Groups that multiply each other (heads and their dimensions) save less together, so the limit of the
    linear problem is tightened until the true cost fits. A whole layer goes in the place of all choices inside it
    (`classes_of`). Each linear problem is solved exactly (`multiple_choice`), and groups are taken by name, so that a
    plan depends on the problem alone.

    >>> plan = sc.make_plan(groups, scores, sc.Budget(macs=0.5), sc.Knapsack(align=4, kinds=("mlp_hidden", "v_dim")))
    >>> plan.facts.allocate, plan.facts.align
    ('knapsack', 4)
    """

    weighs_layers = True

    def order(self, problem: Problem) -> Order:
        """The steps to the chosen widths, then the others, each by score; raises `PlanError` when there are none."""
        names = sorted(problem.steps)
        dense = problem.cost({})
        classes = classes_of(problem)
        losses, savings = [one.losses for one in classes], [one.savings for one in classes]
        limit = problem.limit()
        most = sum(float(part.max()) for part in savings)
        asked = min(dense - limit, most)
        counts = dict.fromkeys(names, 0)
        for _ in range(ROUNDS):
            found = least_loss(losses, savings, asked)
            for one, choice in zip(classes, found, strict=True):
                counts.update(one.counts(choice))
            kept: dict[str, Sequence[int]] = {}
            for name, count in counts.items():
                kept.update(problem.without(name, count))
            over = problem.cost(kept) - limit
            if over <= 0 or asked >= most:
                break
            asked = min(asked + over, most)
        gone = [step for name in names for step in problem.steps[name][: counts[name]]]
        rest = [step for name in names for step in problem.steps[name][counts[name] :]]
        return [step for part in (gone, rest) for step in sorted(part, key=lambda step: step.score)]
