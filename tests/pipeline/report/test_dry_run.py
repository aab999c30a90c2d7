"""What a recipe would do, before it does anything."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from secateur.core.errors import PlanError, RunError
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.report.dry_run import dry_run
from secateur.pipeline.report.stage import ALL_STAGES
from secateur.pipeline.runs.recipe import make_recipe, read_recipe
from tests.pipeline.cli.conftest import RECIPE

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="the run leaves torch:cuda out, which is here")


def test_of_a_new_run_all_stages_are_to_do_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[dry_run.__module__], "seconds_per_image", lambda run: 0.5)
    recipe = make_recipe(RECIPE, "test")
    found = dry_run(recipe, tmp_path / "new")
    wanted = [stage.name for stage in ALL_STAGES if stage.wanted(recipe)]
    assert [stage.name for stage in found.stages] == wanted
    assert all("it was never done" in stage.reason and stage.seconds is None for stage in found.stages)
    assert not [*tmp_path.iterdir()]
    least = {stage.name: stage.least_seconds for stage in found.stages if stage.least_seconds is not None}
    assert least == {"score": 50, "recover": 719, "bench": 179.5}  # half a second for each image that stages look at
    about = {stage.name: stage.about for stage in found.stages}
    assert about["score"] == "obs on 100 images"
    assert about["recover"] == "closed form on 1,438 images"
    assert about["bench"] == "on onnxruntime:cpu, torch:cpu, at most 20 s of measuring"
    assert found.sizes["images"] == "1,438 to compute with, 359 held out"
    assert "192 mlp_hidden" in found.sizes["units"]
    assert found.sizes["budget"].startswith("macs 0.6: at most ")


def test_of_a_run_that_is_there_only_what_changed_is_to_do(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    files = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    recipe = read_recipe(run / "recipe.yaml")
    same = dry_run(recipe, run)
    assert not [stage for stage in same.stages if stage.reason or stage.least_seconds is not None]
    assert all(stage.seconds is not None for stage in same.stages)
    other = replace(recipe, budget=Budget(macs=0.65))
    with pytest.raises(RunError, match="another recipe"):
        dry_run(other, run)
    changed = dry_run(other, run, update=True).stages
    late = [stage.name for stage in changed if stage.reason]
    known = {stage.name: stage.least_seconds for stage in changed if stage.least_seconds is not None}
    assert set(known) == {"bench"} and known["bench"] > 0  # magnitude and no repair look at no image
    assert late[0] == "plan" and "score" not in late and "report" in late
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == files


def test_what_cannot_work_is_said_as_it_is_by_a_run(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="plan"):
        dry_run(make_recipe({**RECIPE, "plan": {"kinds": ["channel"]}}, "test"), tmp_path / "new")
