"""Recipes from a few words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from secateur.core.errors import RecipeError, SecateurError
from secateur.pipeline.models.spec import ModelSpec
from secateur.pipeline.runs.first_recipe import OFTEN, commented, first_recipe
from secateur.pipeline.runs.keys import describe_keys
from secateur.pipeline.runs.recipe import make_recipe, plain, read_recipe

MODEL = ModelSpec("resnet18", "best.pth", ema=False, mean=(0.5,), kwargs={"num_classes": 3})


def test_the_recipe_says_what_was_given_and_nothing_else() -> None:
    assert first_recipe(MODEL, "images", "params=2M", ["onnxruntime:cpu", "torch:cpu"]) == {
        "model": {
            "name": "resnet18",
            "weights": "best.pth",
            "ema": False,
            "kwargs": {"num_classes": 3},
            "mean": [0.5],
        },
        "data": {"path": "images"},
        "budget": {"params": "2M"},
        "export": {"targets": ["onnxruntime:cpu"]},
        "bench": {"targets": ["onnxruntime:cpu", "torch:cpu"]},
    }
    assert list(first_recipe(ModelSpec("resnet18"), "images", "macs=0.5")) == ["model", "data", "budget"]


def test_a_latency_is_that_of_the_first_target() -> None:
    content = first_recipe(MODEL, "images", "latency=0.6", ["onnxruntime:cpu"])
    assert content["budget"] == {"latency": 0.6, "target": "onnxruntime:cpu"}
    with pytest.raises(RecipeError, match="a budget of latency needs the target that it is measured on: give --target"):
        first_recipe(MODEL, "images", "latency=0.6")


@pytest.mark.parametrize("budget", ["0.5", "mac=0.5", "macs", "=0.5", "target=x", "macs=[", ""])
def test_a_budget_of_another_form_is_refused(budget: str) -> None:
    with pytest.raises(RecipeError, match="budget"):
        first_recipe(MODEL, "images", budget)


@pytest.mark.parametrize("targets", [[], ["onnxruntime:cpu"]])
def test_the_text_is_the_recipe_with_every_key_explained(targets: list[str], tmp_path: Path) -> None:
    content = first_recipe(MODEL, "images", "macs=0.5", targets)
    (tmp_path / "half.yaml").write_text(text := commented(content, "half.yaml"))
    assert read_recipe(tmp_path / "half.yaml") == make_recipe(content, "test")
    said = {key.name: " ".join(key.summary.split()[:4]) for key in describe_keys()}
    for key in (*OFTEN, "model.name", "model.mean", "budget.macs"):
        assert f"# {said[key]}" in text, key
    assert "`secateur run half.yaml`" in text
    assert max(map(len, text.splitlines())) <= 120


def test_the_keys_that_are_comments_have_their_defaults_when_they_are_made_keys(tmp_path: Path) -> None:
    content = first_recipe(MODEL, "images", "macs=0.5")
    lines = commented(content, "half.yaml").splitlines()
    text = "\n".join(line[2:] if line.startswith(("# ", "#   ")) and line.endswith(":") else line for line in lines)
    text = "\n".join(line[2:] if line.startswith("#   ") else line for line in text.splitlines())
    found: dict[str, Any] = yaml.safe_load(text)
    assert {f"{section}.{key}" for section in found for key in found[section]} >= set(OFTEN)
    assert plain(make_recipe(found, "test")) == plain(make_recipe(content, "test"))


def test_a_text_of_what_is_no_recipe_is_refused() -> None:
    with pytest.raises(SecateurError, match=r"the budget macs is 1\.5"):
        commented(first_recipe(MODEL, "images", "macs=1.5"), "half.yaml")
