"""Sweeps: one run for each budget, scored once, resumed where they stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from secateur.core.errors import PlanError, RunError
from secateur.pipeline.analysis.accuracy import accuracy
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.recover.compensate import Statistics, gather_statistics
from secateur.pipeline.runs import context
from secateur.pipeline.runs import sweep as module
from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.manifest import Entry
from secateur.pipeline.runs.recipe import Recipe, make_recipe
from secateur.pipeline.runs.runner import open_run, run_stages
from secateur.pipeline.runs.sweep import SweepFile, sweep
from tests.pipeline.report.findings import findings

KWARGS = {"img_size": 16, "patch_size": 8, "in_chans": 1, "embed_dim": 48, "depth": 1, "num_heads": 3}


def recipe(depth: int = 1) -> Recipe:
    content = {
        "model": {"name": "vit_tiny_patch16_224", "kwargs": {**KWARGS, "num_classes": 10, "depth": depth}},
        "data": {"path": "digits"},
        "budget": {"macs": 0.5},
        "score": {"method": "taylor", "samples_per_class": 2},
        "recover": {"samples_per_class": 2},
    }
    return make_recipe(content, "here")


def test_every_budget_gets_its_run_and_scores_and_statistics_are_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[str, str]] = []
    gathered: list[object] = []

    def gather(*arguments: Any) -> Statistics:
        gathered.append(arguments)
        return gather_statistics(*arguments)

    monkeypatch.setattr(context, "gather_statistics", gather)
    points = sweep(recipe(), [0.6, 0.8], tmp_path, lambda stage, message: said.append((stage, message)))
    assert [point.budget for point in points] == [0.8, 0.6]
    assert points[1].macs < points[0].macs
    for point in points:
        notes = json.loads((tmp_path / point.run / "plan.json").read_text())["notes"]
        assert point.macs == notes["macs"] <= point.budget * notes["macs_dense"]
        assert 0 <= point.top1 <= 100
    assert ("0.6 score", "up to date") in said
    assert ("0.6 plan", "up to date") not in said
    assert len(gathered) == 1
    alone = open_run(tmp_path / "alone", replace(recipe(), budget=Budget(macs=0.6)))
    run_stages(alone, "recover")
    ours, theirs = (load_file(folder / "model/model.safetensors") for folder in (alone.folder, tmp_path / "macs-0.6"))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    said.clear()
    assert sweep(recipe(), [0.8, 0.6], tmp_path, lambda stage, message: said.append((stage, message))) == points
    assert {message for _, message in said} == {"up to date"}
    more = sweep(recipe(), [0.8, 0.7], tmp_path)
    assert more[0] == points[0]
    content = SweepFile.load(tmp_path / "sweep.json")
    assert [point.budget for point in content.points] == [0.8, 0.7, 0.6]
    assert content.dense is not None
    assert (content.dense.macs, content.dense.images) == (run_of(tmp_path).groups.macs(), 359)
    assert content.dense.metric.value == accuracy(run_of(tmp_path).dense, run_of(tmp_path).evaluation())

    bench = findings().bench

    def benched(run: Run, until: str, report: Any, begin: Any) -> Mapping[str, Entry]:
        entries = run_stages(run, "recover", report, begin=begin)
        bench.save(run.folder / "bench.json")
        assert until in ("recover", "bench")
        return entries

    monkeypatch.setattr(module, "run_stages", benched)
    (timed,) = sweep(recipe(), [0.8], tmp_path, latency=True)
    assert timed == replace(points[0], speedup=bench.speedup)
    assert sweep(recipe(), [0.8], tmp_path) == [timed]  # it is of the same model


def run_of(folder: Path) -> Run:
    return open_run(folder / "macs-0.8")


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    for budgets in ([], [0.5, 0.5]):
        with pytest.raises(PlanError, match="needs different budgets"):
            sweep(recipe(), budgets, tmp_path)
    with pytest.raises(PlanError, match="cannot be met"):
        sweep(recipe(), [0.8, 0.001], tmp_path / "new")
    assert not (tmp_path / "new").exists()  # nothing was done for the first budget
    sweep(recipe(), [0.8], tmp_path)
    with pytest.raises(RunError, match="another recipe's sweep"):
        sweep(recipe(2), [0.8], tmp_path)
