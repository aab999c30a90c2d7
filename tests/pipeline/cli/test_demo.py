"""`secateur demo`: the embedded recipe, taken through all stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from secateur.pipeline.cli import demo
from secateur.pipeline.data.dataset import open_data
from secateur.pipeline.models.create import create_model
from secateur.pipeline.runs.recipe import Recipe, read_recipe
from tests.pipeline.cli.conftest import Command


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Recipe, Any]]:
    """The recipes that are taken through all stages, each with what goes along."""
    calls: list[tuple[Recipe, Any]] = []

    def take(recipe: Path, folder: Path, settings: tuple[str, ...], update: bool, as_json: bool) -> None:
        calls.append((read_recipe(recipe, settings), (folder, update, as_json)))

    monkeypatch.setattr(demo, "take", take)
    return calls


def test_the_embedded_recipe_halves_a_model_that_needs_no_network(
    taken: list[tuple[Recipe, Any]], secateur: Command
) -> None:
    secateur("demo")
    ((recipe, rest),) = taken
    assert rest == (Path("runs/demo"), False, False)
    assert recipe.budget.macs == 0.5
    assert Path(str(recipe.model.weights)).is_file()
    model = create_model(recipe.model)
    assert model.num_classes == len(open_data(recipe.data).classes) == 10


def test_options_go_along(taken: list[tuple[Recipe, Any]], secateur: Command) -> None:
    secateur("demo", "--out", "elsewhere", "--update", "--json", "--set", "budget.params=0.3")
    ((recipe, rest),) = taken
    assert rest == (Path("elsewhere"), True, True)
    assert (recipe.budget.measure, recipe.budget.params) == ("params", 0.3)
