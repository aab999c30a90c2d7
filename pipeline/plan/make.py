"""Makes a plan: scores, a budget and constraints in; the units that stay out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatch

import numpy as np

from secateur.core.errors import PlanError, near_matches
from secateur.pipeline.plan.allocate import Judge, Problem, find_allocation, meet
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.plan.evolution_spec import EvolutionSpec
from secateur.pipeline.plan.latency_model import LatencyTable
from secateur.pipeline.plan.mask_loss import SoftJudge
from secateur.pipeline.plan.xpruner_spec import XprunerSpec
from secateur.pipeline.scores.score import Scores
from secateur.pipeline.structure.groups import KINDS, Groups
from secateur.pipeline.structure.plan import Plan, plan_from_kept
from secateur.pipeline.structure.steps import Chunk, chunks

DEFAULT_KINDS = ("mlp_hidden", "qk_dim", "v_dim", "channel")
"""Heads are left out: on the demo, dimensions of every head cost less accuracy than whole heads at equal MACs."""


def make_plan(
    groups: Groups,
    scores: Scores,
    budget: Budget,
    allocate: str = "global",
    align: int = 8,
    kinds: Sequence[str] = DEFAULT_KINDS,
    skip: Sequence[str] = (),
    least: int | None = None,
    judge: Judge | None = None,
    table: LatencyTable | None = None,
    evolution: EvolutionSpec | None = None,
    seed: int = 0,
    identity: str = "",
    xpruner: XprunerSpec | None = None,
    soft: SoftJudge | None = None,
    say: Callable[[str], None] = lambda message: None,
) -> Plan:
    """The plan that keeps the most important units under `budget`.

    `kinds` may be pruned; groups that match a glob of `skip` are left alone; every group keeps `least` units at
    least (per head, for per-head dimensions; by default `align`, and no head needs to stay). Resulting widths are
    multiples of `align`. The budget is never exceeded. Allocations that measure need a `judge`, such as
    `judge.divergence`, and a latency budget the `table` of its target. `evolution`, `seed` and `identity` (a name for
    the weights and images behind the judge) belong to the allocation of that name, as do `xpruner` and its `soft`
    judge (`soft_judge.soft_judge`). `say` is told of progress. Raises `PlanError` for unknown
    names and for a budget that cannot be met.

    >>> plan = sc.make_plan(groups, scores, sc.Budget(macs=0.5))
    >>> groups.macs(plan.kept) <= 0.5 * groups.macs()
    True
    """
    for kind in kinds:
        if kind not in KINDS:
            raise PlanError(f"there is no kind {kind!r} of units, but {', '.join(KINDS)}{near_matches(kind, KINDS)}")
    if align < 1:
        raise PlanError(f"align is {align}, but must be 1 or more (1 aligns nothing)")
    every = [group.name for group in groups]
    for pattern in skip:
        if not any(fnmatch(name, pattern) for name in every):
            raise PlanError(f"skip has {pattern!r}, which matches no group{near_matches(pattern, every)}")
    chosen = [g for g in groups if g.kind in kinds and not any(fnmatch(g.name, pattern) for pattern in skip)]
    if not chosen:
        found = ", ".join(sorted({group.kind for group in groups}))
        raise PlanError(
            f"no group may be pruned: kinds are {', '.join(kinds)}, the model has {found}; change kinds or skip"
        )
    steps: dict[str, list[Chunk]] = {}
    for group in chosen:
        values = scores.by_unit(group.name).double().numpy() if group.name in scores.values else None
        if values is None or values.shape != (group.units,):
            raise PlanError(f"the scores do not fit the model: {group.name!r} has {group.units} units; score it again")
        floor = least if least is not None else (0 if group.kind == "head" else align)
        steps[group.name] = chunks(groups, group, np.asarray(values), align, floor)
    problem = Problem(
        *(groups, steps, budget, judge, table, evolution or EvolutionSpec(), seed, identity),
        *(xpruner or XprunerSpec(), soft, say),
    )
    choice = meet(problem, find_allocation(allocate)(problem))
    return plan_from_kept(
        groups,
        choice.kept,
        budget=budget.measure,
        limit=choice.limit,
        cost=choice.cost,
        macs=groups.macs(choice.kept),
        macs_dense=groups.macs(),
        params=groups.params(choice.kept),
        params_dense=groups.params(),
        allocate=allocate,
        align=align,
        score=scores.method,
    )
