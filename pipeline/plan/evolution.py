"""Widths that evolve: candidates are measured, and the best ones have children."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from secateur.core.errors import PlanError
from secateur.core.files import sha256_json
from secateur.core.study import shared_study
from secateur.pipeline.plan.allocate import Order, Problem, allocation, find_allocation, meet
from secateur.pipeline.structure.groups import Kept

FIRST = ("uniform", "global")
"""The allocations that the first generation holds, so that the best candidate is never worse than they are."""
PARENT_SHARE = 0.25
MUTATED_SHARE = 0.3
STEP = 0.2  # the standard deviation of a mutation, as a share of what a group may give
TRIES = 20
"""How often a child is drawn again, on average, before a small space counts as exhausted."""
BACKEND = {"engine_kwargs": {"connect_args": {"timeout": 60}}}
_WIDTHS = "removed_chunks"

Widths = tuple[int, ...]
"""How many chunks each group has lost, in the order of `Problem.chunks`."""


@allocation("evolution")
def evolution(problem: Problem) -> Order:
    """All chunks in an order that passes through the widths which the judge likes best after some generations.

    A child mixes two parents, group by group, or is one parent changed (EAPruning, arXiv 2210.00181); like every other
    candidate it is moved along the line through it onto the budget. A generation is drawn from the seed and from the
    finished generations before it, so that a study which was stopped, or which several workers share, ends as it would
    have with one. Raises `PlanError` without a judge and `RunError` when the storage cannot be used.
    """
    if problem.judge is None:
        raise PlanError(
            "the allocation 'evolution' measures the model: give make_plan a judge (pipeline.plan.judge.divergence)"
        )
    study = _study(problem)
    losses: dict[Widths, float] = {}
    for generation in range(problem.evolution.generations):
        young = born(problem, losses, generation)
        while (widths := _next(study, young)) is not None:
            trial = study.ask()
            trial.set_user_attr(_WIDTHS, widths)
            loss = problem.judge(kept(problem, widths))
            study.tell(trial, math.inf if math.isnan(loss) else loss)
        told = _told(study)
        losses.update((widths, told[widths]) for widths in young)
    best = min(losses, key=lambda widths: (losses[widths], widths))
    return through(problem, best)


def born(problem: Problem, losses: Mapping[Widths, float], generation: int) -> list[Widths]:
    """The candidates of a generation, none of which is in `losses`, those of the generations before."""
    draws = np.random.default_rng([problem.seed, generation])
    most = np.array([len(steps) for steps in problem.chunks.values()])
    if losses:
        count = max(2, round(PARENT_SHARE * problem.evolution.population))
        parents = sorted(losses, key=lambda widths: (losses[widths], widths))[:count]
    else:
        first = [meet(problem, find_allocation(name)(problem)) for name in FIRST]
        parents = list(dict.fromkeys(_removed(problem, choice.kept) for choice in first))
    young = [widths for widths in parents if widths not in losses]
    for _ in range(TRIES * problem.evolution.population):
        if len(young) >= problem.evolution.population:
            break
        child = repaired(problem, _child(parents, most, draws))
        if child not in losses and child not in young:
            young.append(child)
    return young


def repaired(problem: Problem, widths: Sequence[int]) -> Widths:
    """The widths on the budget that lie on the line through `widths`; widths that are there already stay."""
    return _removed(problem, meet(problem, through(problem, widths)).kept)


def through(problem: Problem, widths: Sequence[int]) -> Order:
    """All chunks, first those that `widths` removes, then the others; either part takes equal shares of its groups."""
    keyed = []
    for place, (steps, count) in enumerate(zip(problem.chunks.values(), widths, strict=True)):
        for number, chunk in enumerate(steps, start=1):
            key = number / count if number <= count else 1 + (number - count) / (len(steps) - count)
            keyed.append((key, place, chunk))
    return [chunk for *_, chunk in sorted(keyed, key=lambda item: item[:2])]


def kept(problem: Problem, widths: Sequence[int]) -> Kept:
    """The units that widths keep."""
    pairs = zip(problem.chunks, widths, strict=True)
    return {name: units for name, count in pairs for _, units in problem.without(name, count).items()}


def _child(parents: Sequence[Widths], most: NDArray[np.int64], draws: np.random.Generator) -> list[int]:
    """Two parents mixed, or one of them with some of its widths changed."""
    one, other = (np.array(parents[i]) for i in draws.integers(len(parents), size=2))
    if draws.random() < 0.5 and not np.array_equal(one, other):
        return [int(gene) for gene in np.where(draws.random(len(most)) < 0.5, one, other)]
    moved = one + np.round(draws.normal(0, np.maximum(STEP * most, 1)))
    changed = np.where(draws.random(len(most)) < MUTATED_SHARE, moved, one)
    return [int(gene) for gene in changed.clip(0, most)]


def _removed(problem: Problem, kept: Kept) -> Widths:
    stays = {name: set(units) for name, units in kept.items()}
    return tuple(
        sum(1 for chunk in steps if not stays[name].issuperset(chunk.units)) for name, steps in problem.chunks.items()
    )


def _study(problem: Problem) -> optuna.Study:
    """The study of this problem: whatever decides a candidate's value or its turn is in its name."""
    chunks = {name: [chunk.units for chunk in steps] for name, steps in problem.chunks.items()}
    table = problem.table and asdict(problem.table)
    drawn = [problem.evolution.population, problem.seed, problem.identity]
    content = [problem.groups.fingerprint(), chunks, asdict(problem.budget), table, drawn]
    name = f"secateur-plan-{sha256_json(content)[:12]}"
    if not problem.evolution.storage:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        return optuna.create_study(study_name=name)
    return shared_study(problem.evolution.storage, name, BACKEND)


def _next(study: optuna.Study, young: Sequence[Widths]) -> Widths | None:
    """The candidate to measure now, at random so that workers rarely choose alike; which one does not matter.

    What someone has begun comes last: it may be finished soon, or they are gone.
    """
    told, draws = _told(study), np.random.default_rng()
    begun = Counter(_widths(trial) for trial in study.get_trials(deepcopy=False))
    missing = [widths for widths in young if widths not in told]
    return min(missing, key=lambda widths: (begun[widths], draws.random()), default=None)


def _told(study: optuna.Study) -> dict[Widths, float]:
    """The values of all candidates that someone has finished."""
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return {_widths(trial): trial.values[0] for trial in reversed(done)}  # of equal candidates the first one counts


def _widths(trial: FrozenTrial) -> Widths:
    return tuple(trial.user_attrs.get(_WIDTHS, ()))
