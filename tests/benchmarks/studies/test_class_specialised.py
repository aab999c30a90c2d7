"""Models for some classes: the recipe that is measured, and the file that comes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from secateur_studies import class_specialised

from secateur.pipeline.runs.recipe import make_recipe
from tests.pipeline.runs.test_runner import CONTENT


@pytest.mark.nightly
def test_each_row_is_a_run_whose_bench_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[float, int]] = []

    def tiny(_data: Path, macs: float, epochs: int) -> dict[str, Any]:
        asked.append((macs, epochs))
        lesson = {"epochs": epochs, "batch_size": 20}
        recover = {"samples_per_class": 3, "distill": lesson}
        return {**CONTENT, "budget": {"macs": macs}, "classes": ["7", "1"], "recover": recover}

    monkeypatch.setattr(class_specialised, "recipe_of", tiny)
    monkeypatch.setattr(class_specialised, "ROWS", ((0.6, 0), (0.6, 1)))
    out, work = tmp_path / "out.json", tmp_path / "work"
    arguments = ["--data", str(tmp_path), "--out", str(out), "--work", str(work)]
    result = CliRunner().invoke(class_specialised.main, arguments)
    assert result.exit_code == 0
    assert "plan: up to date" in result.output  # the second row goes on from the first one's plan
    content = json.loads(out.read_text())
    assert content["classes"] == ["7", "1"]
    assert [(row["macs_kept"], row["epochs"]) for row in content["rows"]] == [(0.6, 0), (0.6, 1)]
    for row in content["rows"]:
        bench = row["bench"]
        assert str(tmp_path) not in json.dumps(bench)
        assert bench["pruned"]["macs"] <= 0.6 * bench["dense"]["macs"]
        assert len(bench["pruned"]["latency_ms"]["onnxruntime:cpu"]["samples"]) >= 20
    assert CliRunner().invoke(class_specialised.main, arguments).output == ""
    assert asked == [(0.6, 0), (0.6, 1)]  # what is in the file is not measured again


def test_the_recipe_names_the_images_classes_and_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Two:
        classes = ("n01440764", "n02102040")

    monkeypatch.setattr(class_specialised, "open_data", lambda _path: Two)
    recipe = make_recipe(class_specialised.recipe_of(tmp_path, 0.4, 2), "a test")
    assert recipe.classes == Two.classes
    assert (recipe.score.method, recipe.plan.allocate, recipe.budget.macs) == ("xmask", "xpruner", 0.4)
    assert (recipe.recover.compensate, recipe.recover.distill.epochs) == (True, 2)
