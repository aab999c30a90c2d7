"""Accuracy against cost: one run for each of several budgets, with scores and statistics made once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from secateur.core.errors import PlanError, RunError
from secateur.core.files import atomic_path, sha256_json
from secateur.core.records import read_record, write_record
from secateur.pipeline.analysis.accuracy import evaluate
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.runs.check import check_run
from secateur.pipeline.runs.context import Run, Store
from secateur.pipeline.runs.manifest import read_manifest, write_manifest
from secateur.pipeline.runs.recipe import RecipeLike, recipe_of
from secateur.pipeline.runs.runner import open_run, run_stages
from secateur.pipeline.tasks.metric import Metric

SHARED = ("groups", "score")
"""The stages whose results do not depend on the budget."""
MEASURED = "judged.json"
"""What plans were found to be worth: it does not depend on the budget either."""
Say = Callable[[str, str], None]


@dataclass(frozen=True)
class Point:
    """One model of the front: its budget and run, what it costs, and the metric of its task on the held-out images.

    `top1`, in percent, is that of a classifier. `model` is the hash of the recovered model and of the images, by which
    a finished point is known.
    """

    budget: float
    run: str
    macs: float
    params: float
    top1: float | None
    model: str
    metric: Metric | None = None


@dataclass(frozen=True)
class SweepFile:
    """sweep.json: the points so far, the largest budget first, of budgets in one `measure`.

    `identity` is the hash of what the sweep's recipe is, but for the budget.
    """

    identity: str
    measure: str
    points: tuple[Point, ...] = ()

    @staticmethod
    def load(path: Path) -> SweepFile:
        """What a sweep.json says; raises `RunError` for a file that is none."""
        return read_record(path, "sweep", SweepFile)

    def save(self, path: Path) -> None:
        """Writes sweep.json, atomically."""
        write_record(path, "sweep", self)


def sweep(
    recipe: RecipeLike, budgets: Sequence[float], folder: str | Path, report: Say = lambda stage, message: None
) -> list[Point]:
    """The points of all `budgets` (fractions of the dense model, in the measure of the recipe's budget), largest first.

    Each is a run of its own under `folder`, through the recover stage; the first one's scores and statistics serve
    all. A sweep that was stopped goes on where it was; `sweep.json` holds the points so far. Raises `PlanError` for no
    budgets, equal ones, or one that cannot be met, and `RunError` for a folder that holds the sweep of another recipe.

    >>> recipe = {
    ...     "model": {"name": "vit_tiny_patch16_224", "kwargs": {**sizes, "num_classes": 10, "in_chans": 1}},
    ...     "data": {"path": "digits"},
    ...     "budget": {"macs": 0.5},
    ...     "score": {"method": "magnitude"},
    ...     "recover": {"compensate": False},
    ... }
    >>> [point.budget for point in sc.sweep(recipe, [0.6, 0.8], "runs/front")]
    [0.8, 0.6]
    """
    recipe, folder = recipe_of(recipe), Path(folder)
    if not budgets or len(set(budgets)) != len(budgets):
        raise PlanError(f"a sweep needs different budgets, but got {list(budgets) or 'none'}")
    measure = recipe.budget.measure
    recipes = {
        budget: replace(recipe, budget=Budget(**{measure: budget}, target=recipe.budget.target)) for budget in budgets
    }
    path, identity = (
        folder / "sweep.json",
        sha256_json([str(recipe.model), str(recipe.data), str(recipe.task), measure]),
    )
    known = _known(path, identity)
    store, last = Store(), None
    places = {budget: folder / f"{measure}-{budget:g}" for budget in budgets}
    for budget, place in places.items():
        check_run(Run(place, recipes[budget], store))  # all, before the first one runs for hours
    for budget in sorted(budgets, reverse=True):
        place = places[budget]
        run = replace(open_run(place, recipes[budget], update=True, store=store), shares_statistics=True)
        if last is not None:
            share(last, place)
        last = place
        entries = run_stages(run, "recover", partial(_report, report, budget))
        model = sha256_json([dict(entries["recover"].outputs), run.data.evaluation.fingerprint()])
        if budget not in known or known[budget].model != model:
            report(f"{budget:g} accuracy", f"on {len(run.data.evaluation)} held-out images")
            if (facts := run.plan.facts) is None:
                raise RunError(f"{place / 'plan.json'} does not say what it costs: delete it and run the sweep again")
            metric, *_ = evaluate(run.small, run.evaluation(), run.task, run.data.classes)
            top1 = metric.value if run.task.classifies else None
            known[budget] = Point(budget, place.name, facts.macs, float(facts.params), top1, model, metric)
            SweepFile(identity, measure, tuple(known[key] for key in sorted(known, reverse=True))).save(path)
    return [known[budget] for budget in sorted(budgets, reverse=True)]


def share(source: Path, target: Path) -> None:
    """Gives a run what another one has made for all budgets, unless it has its own; the run checks whether it fits."""
    theirs, ours = read_manifest(source), read_manifest(target)
    copied = [MEASURED] if (source / MEASURED).exists() and not (target / MEASURED).exists() else []
    for stage in SHARED:
        if stage in theirs and stage not in ours:
            copied += theirs[stage].outputs
            ours[stage] = theirs[stage]
    for name in copied:
        with atomic_path(target / name) as part:
            shutil.copyfile(source / name, part)
    write_manifest(target, ours)


def _report(report: Say, budget: float, stage: str, message: str) -> None:
    report(f"{budget:g} {stage}", message)


def _known(path: Path, identity: str) -> dict[float, Point]:
    if not path.exists():
        return {}
    content = SweepFile.load(path)
    if content.identity != identity:
        raise RunError(f"{path} is of another recipe's sweep: choose another --out")
    return {point.budget: point for point in content.points}
