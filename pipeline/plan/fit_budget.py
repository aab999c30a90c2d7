"""How far to follow an order of removal steps, so that the budget is met and nothing goes needlessly."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from secateur.core.errors import PlanError
from secateur.pipeline.plan.allocation import Order, Problem

SPARE = 0.02
"""The share of the limit that may stay unused for want of a smaller step."""


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
        dense = replace(problem, precisions={}, left={}).cost({})
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

    Where that leaves more than `SPARE` of the limit unused because the next step to be taken back is too large (a whole
    head), it is taken back nevertheless, and smaller ones that come next in `order` go in its place.
    The cost never exceeds the limit. Raises `PlanError` when removing everything that may go is not enough.
    """
    groups, names, limit = problem.groups, list(problem.steps), problem.limit()

    def kept_without(gone: Collection[int]) -> dict[str, tuple[int, ...]]:
        units: dict[str, set[int]] = {name: set() for name in names}
        for place in gone:
            units[order[place].group].update(order[place].units)
        return {n: tuple(u for u in range(groups.named(n).units) if u not in units[n]) for n in names}

    def cost(gone: Collection[int]) -> float:
        return problem.cost(kept_without(gone))

    check_reach(problem)
    gone = set(range(_fewest(len(order), lambda count: cost(range(count)) <= limit)))
    last: dict[str, int] = {}  # of each group the most important step that went, which does not fit
    for place in sorted(gone, reverse=True):
        name = order[place].group
        if name in last:
            continue
        if cost(gone - {place}) <= limit:
            gone.remove(place)
        else:
            last[name] = place
    if cost(gone) < (1 - SPARE) * limit:
        gone = next((found for back in last.values() if (found := _finer(order, gone, back, cost, limit))), gone)
    kept = problem.of_left(kept_without(gone))
    return Choice({name: tuple(units) for name, units in kept.items()}, cost(gone), limit)


def _finer(
    order: Order, gone: set[int], back: int, cost: Callable[[Collection[int]], float], limit: float
) -> set[int] | None:
    """The steps that go when `back` stays and smaller ones go in its place; None where these leave too much unused."""
    left = gone - {back}
    over = cost(left)
    after = [place for place in range(len(order)) if place not in gone and order[place].group != order[back].group]
    first = {order[place].group: place for place in reversed(after)}
    small = {name for name, place in first.items() if over - cost(left | {place}) < SPARE * limit}
    finer = [place for place in after if order[place].group in small]
    count = _fewest(len(finer), lambda count: cost(left | set(finer[:count])) <= limit)
    found = left | set(finer[:count])
    return found if (1 - SPARE) * limit <= cost(found) <= limit else None


def _fewest(most: int, fits: Callable[[int], bool]) -> int:
    """The smallest number up to `most` that fits, or `most`; what fits goes on to fit for larger ones."""
    return bisect_left(range(most), True, key=fits)
