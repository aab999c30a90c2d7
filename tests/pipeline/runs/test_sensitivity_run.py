"""Sensitivity in runs: curves of the model that will be repaired, where the run repairs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from secateur.pipeline.plan.sensitivity import Sensitivity
from secateur.pipeline.runs.context import Store
from secateur.pipeline.runs.manifest import read_manifest
from secateur.pipeline.runs.plan_stage import objective
from secateur.pipeline.runs.recipe import Recipe, make_recipe
from secateur.pipeline.runs.runner import open_run, run_stages
from secateur.pipeline.runs.sweep import sweep
from tests.pipeline.runs.handed import handed


def recipe(compensate: bool, allocate: str = "sensitivity", macs: float = 0.6) -> Recipe:
    kwargs = {"img_size": 16, "patch_size": 8, "in_chans": 1, "embed_dim": 48, "depth": 2, "num_heads": 3}
    content = {
        "model": {"name": "vit_tiny_patch16_224", "kwargs": {**kwargs, "num_classes": 10}},
        "data": {"path": "digits"},
        "budget": {"macs": macs},
        "score": {"method": "magnitude"},
        "plan": {"allocate": allocate},
        "recover": {"compensate": compensate},
    }
    return make_recipe(content, "here")


def planned(folder: Path, compensate: bool, allocate: str = "sensitivity", macs: float = 0.6) -> list[str]:
    """What the plan stage says, nothing where it is up to date."""
    said: list[str] = []
    run = open_run(folder, recipe(compensate, allocate, macs), update=True)
    run_stages(run, "plan", lambda stage, message: said.append(message) if stage == "plan" and message else None)
    return said


@pytest.mark.nightly
def test_plans_are_made_again_when_their_curves_change_with_the_repair(tmp_path: Path) -> None:
    repaired = planned(tmp_path, True)
    assert repaired[0].startswith("measuring candidates on ")
    inputs = read_manifest(tmp_path)["plan"].inputs
    assert not any("measuring" in message for message in planned(tmp_path, True))
    assert planned(tmp_path, False)[0].startswith("measuring plans on ")
    assert read_manifest(tmp_path)["plan"].inputs != inputs


def test_curves_are_measured_once_for_all_budgets(tmp_path: Path) -> None:
    planned(tmp_path / "one", True, macs=0.6)
    assert not any("measuring" in message for message in planned(tmp_path / "one", True, macs=0.8))
    assert any("measuring" in message for message in planned(tmp_path / "two", True, macs=0.8))
    one, two = (read_manifest(tmp_path / name)["plan"].outputs for name in ("one", "two"))
    assert one == two
    said: list[tuple[str, str]] = []
    sweep(recipe(False), [0.8, 0.6], tmp_path / "sweep", lambda stage, message: said.append((stage, message)))
    assert [stage for stage, message in said if message.startswith("measuring plans on ")] == ["0.8 plan"]


def test_other_plans_stay_as_they_are(tmp_path: Path) -> None:
    planned(tmp_path, True, "global")
    before = read_manifest(tmp_path)["plan"]
    planned(tmp_path, False, "global")
    assert read_manifest(tmp_path)["plan"] == before


def test_repaired_candidates_are_closer_to_the_dense_model(tmp_path: Path) -> None:
    store = Store()
    runs = [open_run(tmp_path / str(choice), recipe(choice), store=store) for choice in (False, True)]
    plain, repaired = (objective(handed(run, "plan"), Sensitivity(), lambda message: None) for run in runs)
    assert repaired({}) == pytest.approx(0, abs=1e-6)
    for gone in ("blocks.0.mlp.hidden", "blocks.1.attn.v"):
        kept = {gone: range(0, runs[0].groups.named(gone).units, 2)}
        assert 0 < repaired(kept) < plain(kept), gone
