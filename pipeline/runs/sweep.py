"""Accuracy against cost: one run for each of several budgets, with scores and statistics made once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from secateur.core.errors import PlanError, RunError
from secateur.core.files import read_json, sha256_json, write_json
from secateur.pipeline.analysis.accuracy import accuracy
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.manifest import read_manifest, write_manifest
from secateur.pipeline.runs.recipe import Recipe
from secateur.pipeline.runs.runner import open_run, run_stages
from secateur.pipeline.structure.storage import load

SHARED = {"groups": "groups.json", "score": "scores.safetensors"}
"""The stages whose results do not depend on the budget, with what they write."""
Say = Callable[[str, str], None]


@dataclass(frozen=True)
class Point:
    """One model of the front: its budget and run, what it costs, and its top-1 on the held-out images, in percent.

    `model` is the hash of the recovered model, by which a finished point is known.
    """

    budget: float
    run: str
    macs: float
    params: float
    top1: float
    model: str


def sweep(
    recipe: Recipe, budgets: Sequence[float], folder: Path, report: Say = lambda stage, message: None
) -> list[Point]:
    """The points of all `budgets` (fractions of the dense model, in the measure of the recipe's budget), largest first.

    Each is a run of its own under `folder`, through the recover stage; the first one's scores and statistics serve
    all. A sweep that was stopped goes on where it was; `sweep.json` holds the points so far. Raises `PlanError` for no
    budgets or equal ones and `RunError` for a folder that holds the sweep of another recipe.
    """
    if not budgets or len(set(budgets)) != len(budgets):
        raise PlanError(f"a sweep needs different budgets, but got {list(budgets) or 'none'}")
    measure = recipe.budget.measure
    recipes = {
        budget: replace(recipe, budget=Budget(**{measure: budget}, target=recipe.budget.target)) for budget in budgets
    }
    path, identity = folder / "sweep.json", sha256_json([str(recipe.model), str(recipe.data), measure])
    known = _known(path, identity)
    first: Run | None = None
    for budget in sorted(budgets, reverse=True):
        place = folder / f"{measure}-{budget:g}"
        run = open_run(place, recipes[budget], update=True)
        if first is not None:
            share(first.folder, place)
        first = first or run
        run = replace(run, lender=first)
        entries = run_stages(run, "recover", partial(_report, report, budget))
        model = sha256_json(dict(entries["recover"].outputs))
        if budget not in known or known[budget].model != model:
            report(f"{budget:g} accuracy", f"on {len(run.data.evaluation)} held-out images")
            if (facts := run.plan.facts) is None:
                raise RunError(f"{place / 'plan.json'} does not say what it costs: delete it and run the sweep again")
            top1 = accuracy(load(place / "model"), run.evaluation())
            known[budget] = Point(budget, place.name, facts.macs, float(facts.params), top1, model)
            points = [asdict(known[key]) for key in sorted(known, reverse=True)]
            write_json(path, "sweep", {"identity": identity, "measure": measure, "points": points})
    return [known[budget] for budget in sorted(budgets, reverse=True)]


def share(source: Path, target: Path) -> None:
    """Gives a run the groups and scores of another one, unless it has its own; the run checks whether they fit."""
    theirs, ours = read_manifest(source), read_manifest(target)
    for stage, name in SHARED.items():
        if stage in theirs and stage not in ours:
            shutil.copyfile(source / name, target / name)
            ours[stage] = theirs[stage]
    write_manifest(target, ours)


def _report(report: Say, budget: float, stage: str, message: str) -> None:
    report(f"{budget:g} {stage}", message)


def _known(path: Path, identity: str) -> dict[float, Point]:
    if not path.exists():
        return {}
    content = read_json(path, "sweep")
    if content.get("identity") != identity:
        raise RunError(f"{path} is of another recipe's sweep: choose another --out")
    return {float(point["budget"]): Point(**point) for point in content["points"]}
