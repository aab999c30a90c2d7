"""How far to follow an order of removal steps, so that the budget is met and nothing goes needlessly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from secateur.core.errors import PlanError
from secateur.pipeline.plan.allocation import Order, Problem


@dataclass(frozen=True)
class Choice:
    """Kept units by group, what they cost in the budget's measure, and the limit."""

    kept: dict[str, tuple[int, ...]]
    cost: float
    limit: float


def check_reach(problem: Problem) -> None:
    """Raises `PlanError`, saying how far one can go, where taking every removal step is not enough for the budget."""
    limit = problem.limit()
    kept: dict[str, Sequence[int]] = {}
    for name, steps in problem.steps.items():
        kept.update(problem.without(name, len(steps)))
    if (least := problem.cost(kept)) > limit:
        dense = replace(problem, precisions={}).cost({})
        raise PlanError(
            f"the budget of {limit:.4g} {problem.budget.measure} ({limit / dense:.1%} of dense) cannot be met: with "
            f"everything gone that may go, {least:.4g} ({least / dense:.1%}) are left; {_remedies(problem)}"
        )


def _remedies(problem: Problem) -> str:
    """What would let more go, of what the model has."""
    chosen = {problem.groups.named(name).kind for name in problem.steps}
    others = sorted({group.kind for group in problem.groups} - chosen)
    kinds = f"allow more kinds (the model has {', '.join(others)} too), " if others else "allow "
    stuck = [name for name, steps in problem.steps.items() if not steps]
    narrow = f" ({', '.join(stuck[:3])} can lose nothing with this one)" if stuck else ""
    return f"{kinds}a smaller align{narrow}, fewer minimum units or a larger budget"


def fit_budget(problem: Problem, order: Order) -> Choice:
    """The longest prefix of `order` that need not go under the budget, then single steps taken back while they fit.

    The cost never exceeds the limit. Raises `PlanError` when removing everything that may go is not enough.
    """
    groups, names, limit = problem.groups, list(problem.steps), problem.limit()

    def kept_without(count: int, back: frozenset[int] = frozenset()) -> dict[str, tuple[int, ...]]:
        gone: dict[str, set[int]] = {name: set() for name in names}
        for place, step in enumerate(order[:count]):
            if place not in back:
                gone[step.group].update(step.units)
        return {n: tuple(u for u in range(groups.named(n).units) if u not in gone[n]) for n in names}

    def cost(count: int, back: frozenset[int] = frozenset()) -> float:
        return problem.cost(kept_without(count, back))

    check_reach(problem)
    low, high = 0, len(order)
    while low < high:  # the smallest number of steps that meets the budget
        middle = (low + high) // 2
        low, high = (low, middle) if cost(middle) <= limit else (middle + 1, high)
    back: frozenset[int] = frozenset()
    closed: set[str] = set()  # groups whose most important removed step must stay taken
    for place in range(low - 1, -1, -1):
        name = order[place].group
        if name in closed:
            continue
        if cost(low, back | {place}) <= limit:
            back |= {place}
        else:
            closed.add(name)
    return Choice(kept_without(low, back), cost(low, back), limit)
