"""How much each group gives: the registry of allocations, and the search for the budget that they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from secateur.pipeline.errors import PlanError, near_matches
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.plan.chunks import Chunk
from secateur.pipeline.structure.groups import Groups

Order = list[Chunk]
"""All chunks in the order in which they go; within a group always from the least important on."""
Allocation = Callable[[Groups, Mapping[str, Sequence[Chunk]]], Order]

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
    return tuple(sorted(_ALLOCATIONS))


def find_allocation(name: str) -> Allocation:
    """The allocation of that name; raises `PlanError` with the choices when there is none."""
    if name not in _ALLOCATIONS:
        known = allocations()
        raise PlanError(f"there is no allocation {name!r}, but {', '.join(known)}{near_matches(name, known)}")
    return _ALLOCATIONS[name]


@allocation("uniform")
def uniform(groups: Groups, chunks: Mapping[str, Sequence[Chunk]]) -> Order:
    """Every group gives the same share: chunks ordered by the share of its group that is gone after them."""
    keyed: list[tuple[float, int, Chunk]] = []
    for place, (name, steps) in enumerate(chunks.items()):
        gone = 0
        for chunk in steps:
            gone += len(chunk.units)
            keyed.append((gone / groups.named(name).units, place, chunk))
    return [chunk for _, _, chunk in sorted(keyed, key=lambda item: item[:2])]


@allocation("global")
def ranked_globally(groups: Groups, chunks: Mapping[str, Sequence[Chunk]]) -> Order:
    """Groups of one family are ranked together by score; the families give equal shares of their units.

    Ranking only within isomorphic groups is that of Isomorphic Pruning (Fang et al., 2024, arXiv 2407.04616).
    """
    families: dict[str, list[str]] = {}
    for name in chunks:
        families.setdefault(groups.named(name).family or name, []).append(name)
    keyed: list[tuple[float, int, Chunk]] = []
    for place, names in enumerate(families.values()):
        total = sum(groups.named(name).units for name in names)
        # a group's later chunks never come before its earlier ones: scores made to rise within the group
        rising = [
            (float(value), name, chunk)
            for name in names
            for value, chunk in zip(
                np.maximum.accumulate([chunk.score for chunk in chunks[name]] or [0.0]), chunks[name], strict=False
            )
        ]
        gone = 0
        for _, _, chunk in sorted(rising, key=lambda item: item[0]):
            gone += len(chunk.units)
            keyed.append((gone / total, place, chunk))
    return [chunk for _, _, chunk in sorted(keyed, key=lambda item: item[:2])]


@dataclass(frozen=True)
class Choice:
    """Kept units by group, what they cost in the budget's measure, and the limit."""

    kept: dict[str, tuple[int, ...]]
    cost: float
    limit: float


def meet(groups: Groups, order: Order, budget: Budget, names: list[str]) -> Choice:
    """The longest prefix of `order` that need not go under the budget, then single chunks put back while they fit.

    The cost never exceeds the limit. Raises `PlanError`, saying how far one can go, when removing everything that
    may go is not enough.
    """
    limit = budget.limit(groups, names)

    def kept_without(count: int, back: frozenset[int] = frozenset()) -> dict[str, tuple[int, ...]]:
        gone: dict[str, set[int]] = {name: set() for name in names}
        for place, chunk in enumerate(order[:count]):
            if place not in back:
                gone[chunk.group].update(chunk.units)
        return {n: tuple(u for u in range(groups.named(n).units) if u not in gone[n]) for n in names}

    def cost(count: int, back: frozenset[int] = frozenset()) -> float:
        return budget.cost(groups, kept_without(count, back), names)

    low, high = 0, len(order)
    if (least := cost(high)) > limit:
        dense = budget.cost(groups, {}, names)
        raise PlanError(
            f"the budget of {limit:.4g} {budget.measure} ({limit / dense:.1%} of dense) cannot be met: with everything "
            f"gone that may go, {least:.4g} ({least / dense:.1%}) are left; allow more kinds, fewer minimum units or "
            "a larger budget"
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
