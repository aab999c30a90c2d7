"""The page of a sweep: accuracy against cost at all of its points, and what to do with which of them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from secateur.benchmarks.keys import TOP1
from secateur.benchmarks.results_file import Compared
from secateur.core.errors import RunError
from secateur.core.files import write_text
from secateur.pipeline.report.certainty import Change, Judged, change_of
from secateur.pipeline.report.front import fronts, models_of
from secateur.pipeline.report.model_title import model_title
from secateur.pipeline.report.next_steps import NextStep
from secateur.pipeline.report.page import html
from secateur.pipeline.report.table import compact, faster, metric_change, metric_value, speed
from secateur.pipeline.report.verdict import Verdict
from secateur.pipeline.runs.recipe import read_recipe
from secateur.pipeline.runs.sweep import DensePoint, Point, SweepFile


@dataclass(frozen=True)
class SweepRow:
    """One point as it is printed: `speeds` are its speedups by target, each with what its interval shows."""

    run: str
    budget: str
    macs: str
    params: str
    reached: str
    change: str
    judged: Judged
    speeds: tuple[tuple[str, str, Judged], ...]


def write_sweep_page(folder: Path) -> Path:
    """Writes `report.html` into the folder of a sweep and returns its path; raises `RunError` where there is none."""
    path = folder / SweepFile.NAME
    content = SweepFile.load(path)
    if content.dense is None or not content.points:
        raise RunError(f"{path} says nothing of the dense model: run the sweep again, which measures it")
    page = folder / "report.html"
    dense = content.dense
    measured = any(point.speedup for point in content.points)
    shown = {
        "heads": ["MACs", "parameters", "reached", *["latency"] * measured, "change"],
        "title": _title(folder, content),
        "verdict": _verdict(content, dense),
        "dense": _dense_row(dense),
        "rows": [_row(point, content, dense) for point in content.points],
        "fronts": fronts(models_of(content), dense.metric.name, dense.metric.unit, dense.images),
        "images": dense.images,
        "measured": measured,
        "steps": _steps(content, dense, folder),
    }
    write_text(page, html("sweep.html", shown))
    return page


def _title(folder: Path, content: SweepFile) -> str:
    """The model and what was swept; the folder's name where the recipes of the runs are gone."""
    recipe = folder / content.points[0].run / "recipe.yaml"
    if not recipe.is_file():
        return f"sweep of {folder.name}"
    return f"{model_title(read_recipe(recipe).model)}, a sweep of {content.measure}"


def compared(point: Point, dense: DensePoint) -> Compared:
    """A point's metric beside the dense model's."""
    metric, reached = dense.metric, point.metric.value if point.metric is not None else point.top1
    if reached is None:
        raise RunError(f"{point.run} says nothing of what it reaches: run the sweep again")
    return Compared(metric.name, metric.value, reached, metric.higher_is_better, metric.unit)


def best_of(content: SweepFile, dense: DensePoint) -> Point | None:
    """The cheapest point not shown to be worse than the dense model; None where all are, or without intervals."""
    fine = [point for point in content.points if _change(point, dense).judged != "loss"]
    return min(fine, key=lambda point: point.macs) if fine and _change(fine[0], dense).low is not None else None


def _change(point: Point, dense: DensePoint) -> Change:
    return change_of(compared(point, dense), dense.images)


def _verdict(content: SweepFile, dense: DensePoint) -> Verdict:
    """Which point is worth having."""
    points, name = content.points, dense.metric.name
    if (best := best_of(content, dense)) is not None and _change(best, dense).unknown:
        said = f"{dense.images} images are too few to tell which of {len(points)} models is worse"
        return Verdict(f"{said}: give more held-out images (data.evaluation).", "unclear")
    if best is not None:
        found = metric_change(compared(best, dense), dense.images)
        words = f"{best.run} is the smallest of {len(points)} models whose {name} is not shown to be worse: "
        return Verdict(f"{words}{found} with {best.macs / dense.macs:.1%} of the MACs.", "gain")
    least = max(points, key=lambda point: -compared(point, dense).loss)
    found = metric_change(compared(least, dense), dense.images)
    words = f"Of {len(points)} models, {least.run} keeps most of the {name}: "
    judged: Judged = "loss" if dense.metric.name == TOP1 else "unclear"
    return Verdict(f"{words}{found} with {least.macs / dense.macs:.1%} of the MACs.", judged)


def _dense_row(dense: DensePoint) -> SweepRow:
    reached = metric_value(compared_with_itself(dense), dense.metric.value, dense.images)
    return SweepRow("dense", "", compact(dense.macs), compact(dense.params), reached, "", "unclear", ())


def compared_with_itself(dense: DensePoint) -> Compared:
    """The dense model's metric on both sides."""
    metric = dense.metric
    return Compared(metric.name, metric.value, metric.value, metric.higher_is_better, metric.unit)


def _row(point: Point, content: SweepFile, dense: DensePoint) -> SweepRow:
    found = compared(point, dense)
    return SweepRow(
        run=point.run,
        budget=f"{content.measure} {point.budget:g}",
        macs=f"{compact(point.macs)} ({point.macs / dense.macs:.1%})",
        params=f"{compact(point.params)} ({point.params / dense.params:.1%})",
        reached=metric_value(found, found.pruned, dense.images),
        change=metric_change(found, dense.images),
        judged=change_of(found, dense.images).judged,
        speeds=tuple((target, speed(one), faster(one)) for target, one in point.speedup.items()),
    )


def _steps(content: SweepFile, dense: DensePoint, folder: Path) -> list[NextStep]:
    """Commands that go on from here."""
    chosen = best_of(content, dense) or content.points[0]
    steps = [
        NextStep(
            shlex.join(["secateur", "report", str(folder / chosen.run), "--all"]),
            f"Take {chosen.run} through export, build and measurement to a page of its own.",
        )
    ]
    if not all(point.speedup for point in content.points):
        budgets = ",".join(f"{point.budget:g}" for point in content.points)
        recipe = str(folder / chosen.run / "recipe.yaml")
        words = ["secateur", "sweep", recipe, "--budgets", budgets, "--out", str(folder), "--latency"]
        steps.append(NextStep(shlex.join(words), "Measure the latency of each point, too."))
    return steps
