"""Models for some classes: the recipe that is measured, and the file that comes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from secateur.benchmarks import class_specialised
from secateur.pipeline.runs.recipe import make_recipe
from tests.pipeline.runs.test_runner import CONTENT


def test_each_budget_is_a_run_whose_bench_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def tiny(_data: Path, macs: float) -> dict[str, Any]:
        return {**CONTENT, "budget": {"macs": macs}, "classes": ["7", "1"]}

    monkeypatch.setattr(class_specialised, "recipe_of", tiny)
    out, work = tmp_path / "out.json", tmp_path / "work"
    arguments = ["--data", str(tmp_path), "--out", str(out), "--work", str(work)]
    assert CliRunner().invoke(class_specialised.main, arguments).exit_code == 0
    content = json.loads(out.read_text())
    assert content["classes"] == ["7", "1"]
    assert list(content["rows"]) == ["0.6", "0.4"]
    for share, row in content["rows"].items():
        assert row["pruned"]["macs"] <= float(share) * row["dense"]["macs"]
        assert row["speedup"]["onnxruntime:cpu"]["low"] <= row["speedup"]["onnxruntime:cpu"]["high"]
        assert len(row["pruned"]["latency_ms"]["onnxruntime:cpu"]["samples"]) >= 20
    again = CliRunner().invoke(class_specialised.main, arguments)
    assert "bench: up to date" in again.output


def test_the_recipe_names_the_images_classes_and_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Two:
        classes = ("n01440764", "n02102040")

    monkeypatch.setattr(class_specialised, "open_data", lambda _path: Two)
    recipe = make_recipe(class_specialised.recipe_of(tmp_path, 0.4), "a test")
    assert recipe.classes == Two.classes
    assert (recipe.score.method, recipe.plan.allocate, recipe.budget.macs) == ("xmask", "xpruner", 0.4)
    assert recipe.recover.compensate
