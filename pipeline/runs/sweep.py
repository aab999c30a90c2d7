"""Accuracy against cost: one run for each of several budgets, with scores and statistics made once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from secateur.benchmarks.bootstrap import Interval
from secateur.core.errors import PlanError, RunError
from secateur.core.files import atomic_path, sha256_json
from secateur.core.records import read_record, write_record
from secateur.pipeline.analysis.accuracy import evaluate
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.runs.check import check_run
from secateur.pipeline.runs.context import Run, Store
from secateur.pipeline.runs.manifest import Entry, read_manifest, write_manifest
from secateur.pipeline.runs.recipe import RecipeLike
from secateur.pipeline.runs.run_folder import SWEEP, check_free, claim
from secateur.pipeline.runs.runner import open_run, run_stages
from secateur.pipeline.runs.trust import recipe_to_run
from secateur.pipeline.tasks.metric import Metric

SHARED = ("groups", "score")
"""The stages whose results do not depend on the budget."""
MEASURED = "judged.json"
"""What plans were found to be worth: it does not depend on the budget either."""
Report = Callable[[str, str], None]


@dataclass(frozen=True)
class Point:
    """One model of the front: its budget and run, what it costs, and the metric of its task on the held-out images.

    `top1`, in percent, is that of a classifier. `model` is the hash of the recovered model and of the images, by which
    a finished point is known. `speedup` has by target how many times as fast as the dense model it is, where that was
    measured.
    """

    budget: float
    run: str
    macs: float
    params: float
    top1: float | None
    model: str
    metric: Metric | None = None
    speedup: Mapping[str, Interval] = field(default_factory=dict)


@dataclass(frozen=True)
class DensePoint:
    """What the points of a sweep are compared with: the dense model's cost and metric on the held-out `images`.

    `model` is the hash of its weights and of the images, by which it is known.
    """

    macs: float
    params: float
    metric: Metric
    images: int
    model: str


@dataclass(frozen=True)
class SweepFile:
    """sweep.json: the points so far, the largest budget first, of budgets in one `measure`, and the dense model.

    `identity` is the hash of what the sweep's recipe is, but for the budget.
    """

    identity: str
    measure: str
    points: tuple[Point, ...] = ()
    dense: DensePoint | None = None

    NAME = "sweep.json"

    @staticmethod
    def load(path: Path) -> SweepFile:
        """What a sweep.json says; raises `RunError` for a file that is none."""
        return read_record(path, "sweep", SweepFile)

    def save(self, path: Path) -> None:
        """Writes sweep.json, atomically."""
        write_record(path, "sweep", self)


def sweep(
    recipe: RecipeLike,
    budgets: Sequence[float],
    folder: str | Path,
    report: Report = lambda stage, message: None,
    *,
    latency: bool = False,
    trust: bool = False,
) -> list[Point]:
    """The points of all `budgets` (fractions of the dense model, in the measure of the recipe's budget), largest first.

    Each is a run of its own under `folder`, through the recover stage, or with `latency` through the bench stage, whose
    speedups the points then have; the first one's scores and statistics serve all. A sweep that was stopped goes on
    where it was; `sweep.json` holds the points so far. Raises `PlanError` for no budgets, equal ones, or one that
    cannot be met, and `RunError` for a folder that holds the sweep of another recipe, and for the recipe of a run that
    would import code which this user never ran here, unless `trust` says that it may.

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
    recipe, folder = recipe_to_run(recipe, trust=trust), Path(folder)
    if not budgets or len(set(budgets)) != len(budgets):
        raise PlanError(f"a sweep needs different budgets, but got {list(budgets) or 'none'}")
    measure = recipe.budget.measure
    recipes = {
        budget: replace(recipe, budget=Budget(**{measure: budget}, target=recipe.budget.target)) for budget in budgets
    }
    check_free(folder, SWEEP)
    path = folder / SweepFile.NAME
    identity = sha256_json([str(recipe.model), str(recipe.data), str(recipe.task), measure])
    content = _there(path, SweepFile(identity, measure))
    store, last = Store(), None
    places = {budget: folder / f"{measure}-{budget:g}" for budget in budgets}
    for budget, place in places.items():
        check_run(Run(place, recipes[budget], store))  # all, before the first one runs for hours
    claim(folder, SWEEP)
    for budget in sorted(budgets, reverse=True):
        place = places[budget]
        run = replace(open_run(place, recipes[budget], update=True, store=store), shares_statistics=True)
        say, begin = partial(_report, report, budget), partial(share, last, place)
        entries = run_stages(run, "bench" if latency else "recover", say, begin=begin)
        last = place
        if content.dense is None or content.dense.model != _dense_key(run):
            report(f"{budget:g} accuracy", f"of the dense model on {len(run.data.evaluation)} held-out images")
            content = replace(content, dense=_dense(run))
        point = _point(run, budget, entries, content, report)
        content = _with(content, replace(point, speedup=run.bench.speedup) if latency else point)
        content.save(path)
    return [point for point in content.points if point.budget in budgets]


def _point(run: Run, budget: float, entries: Mapping[str, Entry], content: SweepFile, report: Report) -> Point:
    """The point of a run, whose accuracy is measured where the file has it not yet."""
    model = sha256_json([dict(entries["recover"].outputs), run.data.evaluation.fingerprint()])
    for point in content.points:
        if point.budget == budget and point.model == model:
            return point
    report(f"{budget:g} accuracy", f"on {len(run.data.evaluation)} held-out images")
    if (facts := run.plan.facts) is None:
        raise RunError(f"{run.folder / 'plan.json'} does not say what it costs: delete it and run the sweep again")
    metric, *_ = evaluate(run.small, run.evaluation(), run.task, run.data.classes)
    top1 = metric.value if run.task.classifies else None
    return Point(budget, run.folder.name, facts.macs, float(facts.params), top1, model, metric)


def _with(content: SweepFile, point: Point) -> SweepFile:
    """The file with a point in the place of the one of its budget."""
    points = [point, *(one for one in content.points if one.budget != point.budget)]
    return replace(content, points=tuple(sorted(points, key=lambda one: -one.budget)))


def _dense_key(run: Run) -> str:
    return sha256_json([dict(run.model_identity), run.data.evaluation.fingerprint()])


def _dense(run: Run) -> DensePoint:
    metric, *_ = evaluate(run.dense, run.evaluation(), run.task, run.data.classes)
    costs = run.groups.macs(), float(run.groups.params())
    return DensePoint(*costs, metric, len(run.data.evaluation), _dense_key(run))


def share(source: Path | None, target: Path) -> None:
    """Gives a run what another one has made for all budgets, unless it has its own; the run checks whether it fits."""
    if source is None:
        return
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


def _report(report: Report, budget: float, stage: str, message: str) -> None:
    report(f"{budget:g} {stage}", message)


def _there(path: Path, new: SweepFile) -> SweepFile:
    """What the file says; raises `RunError` where that is of another recipe's sweep."""
    if not path.exists():
        return new
    content = SweepFile.load(path)
    if content.identity != new.identity:
        raise RunError(f"{path} is of another recipe's sweep: choose another --out")
    return content
