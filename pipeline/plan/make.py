"""Makes a plan: scores, a budget and an allocation with its constraints in; the units that stay out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from fnmatch import fnmatch
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.core.errors import PlanError, near_matches
from secateur.core.options import options_of
from secateur.pipeline.plan.allocation import (
    NEEDED,
    Allocation,
    Constraints,
    Instruments,
    Problem,
    find_allocation,
)
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.plan.fit_budget import check_reach, fit_budget
from secateur.pipeline.plan.latency_table import LatencyTable
from secateur.pipeline.scores.registry import METHODS
from secateur.pipeline.scores.score import Scores
from secateur.pipeline.structure.groups import LAYER_KINDS, Group, Groups, Kept
from secateur.pipeline.structure.plan import Plan, PlanFacts, plan_from_kept
from secateur.pipeline.structure.steps import Step, removal_steps

_log = logging.getLogger(__name__)


def make_plan(
    groups: Groups,
    scores: Scores,
    budget: Budget,
    allocation: str | Allocation | None = None,
    instruments: Instruments | None = None,
    **options: Any,
) -> Plan:
    """The plan that keeps the most important units under `budget`, which is never exceeded.

    `allocation` is a name with `options` (`"knapsack", align=4`; all allocations take those of `Constraints`), or made
    already: `Knapsack(align=4)`; without one it is the `best_allocation` for these scores. Those that measure need
    `instruments`, and so does a latency budget. Raises `PlanError` for unknown names and options, scores of another
    model, and a budget that cannot be met.

    >>> plan = sc.make_plan(groups, scores, sc.Budget(macs=0.5), "knapsack", align=8)
    >>> groups.macs(plan.kept) <= 0.5 * groups.macs()
    True
    """
    chosen = allocation_of(allocation or best_allocation(scores.method), options)
    return planned(groups, scores, budget, chosen, instruments or Instruments(), {})


def planned(
    groups: Groups, scores: Scores, budget: Budget, chosen: Allocation, instruments: Instruments, left: Kept
) -> Plan:
    """The plan of an allocation that is made already, of the units that are `left`; raises what `make_plan` does."""
    chosen.check(budget)
    check_layers(chosen, budget)
    for need in chosen.needs:
        if getattr(instruments, need) is None:
            raise PlanError(f"the allocation {chosen.name!r} {NEEDED[need]}")
    if budget.measure == "macs" and groups.uncounted:
        _log.warning("the budget leaves out operations that may carry MACs: %s", ", ".join(groups.uncounted))
    steps = {group.name: steps_of(group, scores, chosen, left_of(group, left)) for group in prunable(groups, chosen)}
    problem, order = chosen.decide(Problem(groups, steps, budget, instruments, left=left))
    choice = fit_budget(problem, order)
    facts = PlanFacts(
        budget=budget.measure,
        limit=choice.limit,
        cost=choice.cost,
        macs=groups.macs(choice.kept),
        macs_dense=groups.macs(),
        params=groups.params(choice.kept),
        params_dense=groups.params(),
        allocate=chosen.name,
        align=chosen.align,
        score=scores.method,
        precisions=problem.precisions,
    )
    return plan_from_kept(groups, choice.kept, facts)


def best_allocation(method: str) -> str:
    """The allocation that keeps most with scores of that method, by the measurements on DeiT-Tiny.

    `knapsack` where scores compare between groups, as losses do, and else `global`; so for a method that is not known.
    """
    return "knapsack" if method in METHODS and METHODS.find(method).comparable else "global"


def check_plan(groups: Groups, budget: Budget, allocation: Allocation, latencies: LatencyTable | None = None) -> None:
    """Raises what `make_plan` would raise whatever the scores are; of a latency only where its table is there."""
    allocation.check(budget)
    check_layers(allocation, budget)
    chosen = prunable(groups, allocation)
    if budget.measure != "latency" or latencies:
        steps = {group.name: _steps(group, np.zeros(group.units), allocation) for group in chosen}
        check_reach(allocation.cheapest(Problem(groups, steps, budget, Instruments(latencies=latencies))))


def check_layers(allocation: Allocation, budget: Budget) -> None:
    """Raises `PlanError` for whole layers where they cannot be weighed against what is inside them."""
    layers = ", ".join(kind for kind in allocation.kinds if kind in LAYER_KINDS)
    if layers and budget.measure == "latency":
        raise PlanError(
            f"plan.kinds has {layers}, but a table of latencies does not say what whole layers take: give a budget of "
            f"macs or params, or leave {layers} out"
        )
    if layers and not allocation.weighs_layers:
        raise PlanError(
            f"plan.kinds has {layers}, but the allocation {allocation.name!r} does not weigh whole layers against the "
            f"units inside them: take allocate: knapsack, or leave {layers} out"
        )


def left_of(group: Group, left: Kept) -> Sequence[int] | None:
    """The units of a group that earlier rounds have left, None for all; of a layer none where all inside is gone."""
    if not group.holds:
        return left.get(group.name)
    return None if any(left.get(name, True) for name in group.holds) else ()


def allocation_of(allocation: str | Allocation, options: dict[str, Any]) -> Allocation:
    """The allocation, made of its options where it is a name; raises `PlanError` for options that it has not."""
    if isinstance(allocation, str):
        return options_of(find_allocation(allocation), options, f"the allocation {allocation!r}")
    if options:
        raise PlanError(
            f"the options {', '.join(options)} go with an allocation's name: give them to {type(allocation).__name__}"
        )
    return allocation


def prunable(groups: Groups, constraints: Constraints) -> Sequence[Group]:
    """The groups that may lose units; raises `PlanError` for none, and for a glob that matches no group."""
    every = [group.name for group in groups]
    for pattern in constraints.skip:
        if not any(fnmatch(name, pattern) for name in every):
            raise PlanError(f"skip has {pattern!r}, which matches no group{near_matches(pattern, every)}")
    kinds = constraints.kinds
    found = [group for group in groups if group.kind in kinds and not _skipped(group, constraints)]
    missing = [kind for kind in kinds if kind in LAYER_KINDS and all(group.kind != kind for group in groups)]
    if missing:
        raise PlanError(
            f"plan.kinds has {', '.join(missing)}, of which these groups have none that may go whole: leave it out, or "
            "give the groups with_layers of a transformer of timm"
        )
    if not found:
        there = ", ".join(sorted({group.kind for group in groups}))
        raise PlanError(
            f"no group may be pruned: kinds are {', '.join(kinds)}, the model has {there}; change kinds or skip"
        )
    return found


def _skipped(group: Group, constraints: Constraints) -> bool:
    """Whether a group is left alone, or a layer that holds one which is."""
    return any(fnmatch(name, glob) for name in (group.name, *group.holds) for glob in constraints.skip)


def steps_of(group: Group, scores: Scores, constraints: Constraints, left: Sequence[int] | None = None) -> list[Step]:
    """The removal steps of a group, or of the units that are `left`.

    Raises `PlanError` where the scores are not this model's.
    """
    if left is not None and not left:
        return []
    values = scores.by_unit(group.name).double().numpy() if group.name in scores.values else None
    if values is None or values.shape != (group.units,):
        raise PlanError(f"the scores do not fit the model: {group.name!r} has {group.units} units; score it again")
    return _steps(group, np.asarray(values), constraints, left)


def _steps(
    group: Group, scores: NDArray[np.float64], constraints: Constraints, left: Sequence[int] | None = None
) -> list[Step]:
    least = 0 if group.holds else constraints.least
    if least is None:
        least = 0 if group.kind == "head" else max(constraints.align, constraints.fewest)
    return removal_steps(group, scores, constraints.align, least, left)
