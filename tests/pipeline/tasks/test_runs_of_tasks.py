"""Runs of models that are no classifiers, by methods that look at losses, at predictions and at no labels."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import secateur as sc
from secateur.core.errors import ModelError, RecipeError, RunError
from secateur.pipeline.analysis.pruning_curve import Shape
from secateur.pipeline.runs.curves import parse_line, trace_curves
from tests.later import mostly_nightly
from tests.pipeline.tasks.small_tasks import WRITERS, recipe_for

METRICS = {
    "regress": "RMSE",
    "multilabel": "mAP",
    "embed": "retrieval@1",
    "segment": "mIoU",
    "detect": "mAP",
    "custom": "worst_error",
}
NEEDS = {"multilabel": ("torchmetrics",), "segment": ("torchmetrics",), "detect": ("torchmetrics", "pycocotools")}
DISTILLED: dict[str, Any] = {"compensate": True, "distill": {"epochs": 1, "batch_size": 4, "labels": 0.5}}
METHODS: dict[str, dict[str, Any]] = {
    "taylor": {"score": {"method": "taylor"}, "recover": DISTILLED},
    "obs": {"score": {"method": "obs"}, "plan": {"align": 1, "allocate": "sensitivity"}},
    "lrp": {"score": {"method": "lrp"}, "plan": {"align": 1, "allocate": "xpruner", "xpruner": {"steps": 2}}},
}


@pytest.mark.parametrize("task", list(METRICS))
@pytest.mark.parametrize("method", mostly_nightly(METHODS, ("taylor",)))
def test_a_run_of_the_task_ends_with_a_smaller_model(task: str, method: str, tmp_path: Path) -> None:
    recipe = recipe_for(task, tmp_path, **METHODS[method])
    if method == "taylor" and task in ("segment", "detect"):  # whose labels belong to places
        with pytest.raises(RecipeError, match=r"mix 0\.5, flip 0\.5, scale 0\.5, but labels of places in a picture"):
            sc.run(recipe, tmp_path / "refused")
        recipe["recover"] = {**DISTILLED, "distill": {**DISTILLED["distill"], "mix": 0.0, "flip": 0.0, "scale": 1.0}}
    run = sc.run(recipe, tmp_path / "run", until="recover")
    facts = run.plan.facts
    assert facts is not None and facts.macs <= 0.7 * facts.macs_dense


@pytest.mark.parametrize("task", mostly_nightly(METRICS, ("regress", "segment")))
def test_the_metric_of_the_task_is_measured_and_reported(task: str, tmp_path: Path) -> None:
    if missing := [package for package in NEEDS.get(task, ()) if find_spec(package) is None]:
        pytest.skip(f"{missing[0]} is not installed")
    points = sc.sweep(recipe_for(task, tmp_path), [0.8, 0.6], tmp_path / "front")
    assert all(point.metric is not None and point.metric.name == METRICS[task] for point in points)
    assert all(point.top1 is None for point in points)


def test_bench_and_report_speak_of_the_metric(tmp_path: Path) -> None:
    run = sc.run(recipe_for("regress", tmp_path), tmp_path / "run")
    found = run.bench.metric
    assert found is not None and (found.name, found.higher_is_better) == ("RMSE", False)
    assert (run.bench.dense.top1, run.bench.pruned.top1) == (None, None)
    assert "| RMSE |" in (run.folder / "report.md").read_text()
    assert sc.gate(run.folder, max_drop=1000).outcome == "pass"
    with pytest.raises(RunError, match=r"curves count images .* the task of .* is regress"):
        trace_curves(run, [parse_line("taylor")], tmp_path / "curves", Shape())


def test_a_model_of_another_number_of_columns_is_refused(tmp_path: Path) -> None:
    recipe = recipe_for("regress", tmp_path)
    recipe["model"]["kwargs"] = {**recipe["model"]["kwargs"], "num_classes": 3}
    with pytest.raises(ModelError, match=r"task: the model returns \[batch, 3\], but regression to 2 columns"):
        sc.run(recipe, tmp_path / "run")


def test_every_task_of_ours_has_data() -> None:
    from secateur.pipeline.tasks.task import TASKS

    assert set(WRITERS) | {"classify"} == set(TASKS.own())
