"""How much each group gives: the registry of allocations, and the search for the budget that they share.

A new allocation is one file with one decorated function, named in `MODULES`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from secateur.core.errors import PlanError, near_matches
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.plan.evolution_spec import EvolutionSpec
from secateur.pipeline.plan.latency_model import LatencyTable
from secateur.pipeline.plan.mask_loss import SoftJudge
from secateur.pipeline.plan.xpruner_spec import XprunerSpec
from secateur.pipeline.structure.groups import Groups, Kept
from secateur.pipeline.structure.steps import Chunk

Order = list[Chunk]
"""All chunks in the order in which they go; within a group always from the least important on."""
Judge = Callable[[Kept], float]
"""How far a model with these units is from the dense one; smaller is better."""
MODULES = ("uniform", "global_ranking", "knapsack", "sensitivity", "evolution", "xpruner")


@dataclass(frozen=True)
class Problem:
    """What an allocation decides on: the removal steps of each group, the budget, and a judge where there is one.

    `evolution`, `seed` and `identity` (what decides the judge's values: weights, images) are for allocations that draw,
    `xpruner` and the `soft` judge for the one that trains; `say` is told of progress.
    """

    groups: Groups
    chunks: Mapping[str, Sequence[Chunk]]
    budget: Budget
    judge: Judge | None = None
    table: LatencyTable | None = None
    evolution: EvolutionSpec = field(default_factory=EvolutionSpec)
    seed: int = 0
    identity: str = ""
    xpruner: XprunerSpec = field(default_factory=XprunerSpec)
    soft: SoftJudge | None = None
    say: Callable[[str], None] = lambda message: None

    def limit(self) -> float:
        """The most that the small model may cost, in the budget's measure."""
        return self.budget.limit(self.groups, list(self.chunks), self.table)

    def cost(self, kept: Kept) -> float:
        """What a choice costs, in the budget's measure."""
        return self.budget.cost(self.groups, kept, list(self.chunks), self.table)

    def without(self, name: str, count: int) -> Kept:
        """The choice that removes the first `count` chunks of one group and nothing else."""
        gone = {unit for chunk in self.chunks[name][:count] for unit in chunk.units}
        return {name: [unit for unit in range(self.groups.named(name).units) if unit not in gone]}


Allocation = Callable[[Problem], Order]

_ALLOCATIONS: dict[str, Allocation] = {}


def allocation(name: str) -> Callable[[Allocation], Allocation]:
    """A decorator that registers an allocation under `name`; raises `ValueError` on a duplicate."""

    def register(function: Allocation) -> Allocation:
        if name in _ALLOCATIONS:
            raise ValueError(f"the allocation {name!r} is registered twice")
        _ALLOCATIONS[name] = function
        return function

    return register


def allocations() -> tuple[str, ...]:
    """The names of all registered allocations."""
    for module in MODULES:
        importlib.import_module(f"secateur.pipeline.plan.{module}")
    return tuple(sorted(_ALLOCATIONS))


def find_allocation(name: str) -> Allocation:
    """The allocation of that name; raises `PlanError` with the choices when there is none."""
    known = allocations()
    if name not in known:
        raise PlanError(f"there is no allocation {name!r}, but {', '.join(known)}{near_matches(name, known)}")
    return _ALLOCATIONS[name]


@dataclass(frozen=True)
class Choice:
    """Kept units by group, what they cost in the budget's measure, and the limit."""

    kept: dict[str, tuple[int, ...]]
    cost: float
    limit: float


def meet(problem: Problem, order: Order) -> Choice:
    """The longest prefix of `order` that need not go under the budget, then single chunks put back while they fit.

    The cost never exceeds the limit. Raises `PlanError`, saying how far one can go, when removing everything that
    may go is not enough.
    """
    groups, names, limit = problem.groups, list(problem.chunks), problem.limit()

    def kept_without(count: int, back: frozenset[int] = frozenset()) -> dict[str, tuple[int, ...]]:
        gone: dict[str, set[int]] = {name: set() for name in names}
        for place, chunk in enumerate(order[:count]):
            if place not in back:
                gone[chunk.group].update(chunk.units)
        return {n: tuple(u for u in range(groups.named(n).units) if u not in gone[n]) for n in names}

    def cost(count: int, back: frozenset[int] = frozenset()) -> float:
        return problem.cost(kept_without(count, back))

    low, high = 0, len(order)
    if (least := cost(high)) > limit:
        dense = problem.cost({})
        raise PlanError(
            f"the budget of {limit:.4g} {problem.budget.measure} ({limit / dense:.1%} of dense) cannot be met: with "
            f"everything gone that may go, {least:.4g} ({least / dense:.1%}) are left; allow more kinds, fewer minimum "
            "units or a larger budget"
        )
    while low < high:  # the smallest number of chunks whose removal meets the budget
        middle = (low + high) // 2
        low, high = (low, middle) if cost(middle) <= limit else (middle + 1, high)
    back: frozenset[int] = frozenset()
    closed: set[str] = set()  # groups whose most important removed chunk must stay away
    for place in range(low - 1, -1, -1):
        name = order[place].group
        if name in closed:
            continue
        if cost(low, back | {place}) <= limit:
            back |= {place}
        else:
            closed.add(name)
    return Choice(kept_without(low, back), cost(low, back), limit)
