"""Widths that evolve: candidates are measured, and the best ones have children."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray

from secateur.core.errors import naming
from secateur.core.files import sha256_json
from secateur.core.ranges import Range
from secateur.pipeline.plan.allocation import Allocation, Order, Problem, allocation, find_allocation
from secateur.pipeline.plan.fit_budget import fit_budget
from secateur.pipeline.structure.groups import Kept

if TYPE_CHECKING:
    from optuna import Study  # slow to import
    from optuna.trial import FrozenTrial

FIRST = ("uniform", "global")
"""The allocations that the first generation holds, so that the best candidate is never worse than they are."""
PARENT_SHARE = 0.25
MUTATED_SHARE = 0.3
STEP = 0.2  # the standard deviation of a mutation, as a share of what a group may give
TRIES = 20
"""How often a child is drawn again, on average, before a small space counts as exhausted."""
FILE = "plan.db"
"""The study in the folder of a run."""
_WIDTHS = "removed_chunks"

Widths = tuple[int, ...]
"""How many steps each group has taken, in the order of `Problem.steps`."""


@allocation("evolution")
class Evolution(Allocation):
    """`generations` of `population` candidates, measured on `images` calibration images that the statistics leave out.

    A child mixes two parents, group by group, or is one parent changed (EAPruning, arXiv 2210.00181); like every other
    candidate it is moved along the line through it onto the budget. A search that was stopped goes on. Without a
    `storage`, a run keeps its study in its own folder, and the library in memory.

    >>> instruments = sc.Instruments(objective=sc.divergence(model, groups, loader))
    >>> evolution = sc.Evolution(population=3, generations=1)
    >>> sc.make_plan(groups, scores, sc.Budget(macs=0.6), evolution, instruments).facts.allocate
    'evolution'
    """

    population: Annotated[int, Range(3)] = 16
    """How many candidates a generation has."""
    generations: Annotated[int, Range(1)] = 6
    """How many generations follow one another."""
    images: Annotated[int, Range(1)] = 200
    """How many calibration images candidates are measured on; the statistics of repair leave these out."""
    storage: str = ""
    """The URL of a database, such as `sqlite:///plan.db`, through which workers share one search; empty: the run's own.
    """

    needs: ClassVar[tuple[str, ...]] = ("objective",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.storage:
            from secateur.core.study import database_url

            with naming("plan.evolution"):
                database_url(self.storage)

    def order(self, problem: Problem) -> Order:
        """The steps in an order that passes through the widths which the objective likes best after some generations.

        A generation is drawn from the seed and from the finished generations before it, so that a study which was
        stopped, or which several workers share, ends as it would have with one. Raises `RunError` when the storage
        cannot be used.
        """
        from secateur.core.study import quiet

        with quiet():
            study = self._study(problem)
            losses: dict[Widths, float] = {}
            for generation in range(self.generations):
                young = self.born(problem, losses, generation)
                while (widths := _next(study, young)) is not None:
                    trial = study.ask()
                    trial.set_user_attr(_WIDTHS, widths)
                    loss = problem.objective(kept(problem, widths))
                    study.tell(trial, math.inf if math.isnan(loss) else loss)
                told = _told(study)
                losses.update((widths, told[widths]) for widths in young)
        best = min(losses, key=lambda widths: (losses[widths], widths))
        return through(problem, best)

    def born(self, problem: Problem, losses: Mapping[Widths, float], generation: int) -> list[Widths]:
        """The candidates of a generation, none of which is in `losses`, those of the generations before."""
        draws = np.random.default_rng([problem.instruments.seed, generation])
        most = np.array([len(steps) for steps in problem.steps.values()])
        if losses:
            count = max(2, round(PARENT_SHARE * self.population))
            parents = sorted(losses, key=lambda widths: (losses[widths], widths))[:count]
        else:
            first = [fit_budget(problem, find_allocation(name)().order(problem)) for name in FIRST]
            parents = list(dict.fromkeys(_removed(problem, choice.kept) for choice in first))
        young = [widths for widths in parents if widths not in losses]
        for _ in range(TRIES * self.population):
            if len(young) >= self.population:
                break
            child = repaired(problem, _child(parents, most, draws))
            if child not in losses and child not in young:
                young.append(child)
        return young

    def _study(self, problem: Problem) -> Study:
        """The study of this problem: whatever decides a candidate's value or its turn is in its name."""
        from secateur.core.study import shared_study

        given = problem.instruments
        steps = {name: [step.units for step in steps] for name, steps in problem.steps.items()}
        table = given.latencies and asdict(given.latencies)
        drawn = [self.population, given.seed, given.identity]
        content = [problem.groups.fingerprint(), steps, asdict(problem.budget), table, drawn]
        name = f"secateur-plan-{sha256_json(content)[:12]}"
        kept_here = f"sqlite:///{(given.folder / FILE).resolve()}" if given.folder else ""
        return shared_study(self.storage or kept_here, name)


def repaired(problem: Problem, widths: Sequence[int]) -> Widths:
    """The widths on the budget that lie on the line through `widths`; widths that are there already stay."""
    return _removed(problem, fit_budget(problem, through(problem, widths)).kept)


def through(problem: Problem, widths: Sequence[int]) -> Order:
    """All steps, first those that lead to `widths`, then the others; either part takes equal shares of its groups."""
    keyed = []
    for place, (steps, count) in enumerate(zip(problem.steps.values(), widths, strict=True)):
        for number, step in enumerate(steps, start=1):
            key = number / count if number <= count else 1 + (number - count) / (len(steps) - count)
            keyed.append((key, place, step))
    return [step for *_, step in sorted(keyed, key=lambda item: item[:2])]


def kept(problem: Problem, widths: Sequence[int]) -> Kept:
    """The units that widths keep."""
    pairs = zip(problem.steps, widths, strict=True)
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
        sum(1 for step in steps if not stays[name].issuperset(step.units)) for name, steps in problem.steps.items()
    )


def _next(study: Study, young: Sequence[Widths]) -> Widths | None:
    """The candidate to measure now, at random so that workers rarely choose alike; which one does not matter.

    What someone has begun comes last: it may be finished soon, or they are gone.
    """
    told, draws = _told(study), np.random.default_rng()
    begun = Counter(_widths(trial) for trial in study.get_trials(deepcopy=False))
    missing = [widths for widths in young if widths not in told]
    return min(missing, key=lambda widths: (begun[widths], draws.random()), default=None)


def _told(study: Study) -> dict[Widths, float]:
    """The values of all candidates that someone has finished."""
    from optuna.trial import TrialState

    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return {_widths(trial): trial.values[0] for trial in reversed(done)}  # of equal candidates the first one counts


def _widths(trial: FrozenTrial) -> Widths:
    return tuple(trial.user_attrs.get(_WIDTHS, ()))
