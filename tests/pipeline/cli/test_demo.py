"""`secateur demo`: the embedded recipe, taken through all stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
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
    monkeypatch.setattr(demo, "say_closing", lambda folder: click.echo(f"closing of {folder}"))
    return calls


def test_the_embedded_recipe_halves_a_model_that_needs_no_network(
    taken: list[tuple[Recipe, Any]], secateur: Command
) -> None:
    assert "closing of runs/demo" in secateur("demo").output
    ((recipe, rest),) = taken
    assert rest == (Path("runs/demo"), False, False)
    assert recipe.budget.macs == 0.5
    assert Path(str(recipe.model.weights)).is_file()
    model = create_model(recipe.model)
    assert model.num_classes == len(open_data(recipe.data).classes) == 10


def test_options_go_along(taken: list[tuple[Recipe, Any]], secateur: Command) -> None:
    done = secateur("demo", "--out", "elsewhere", "--update", "--json", "--set", "budget.params=0.3")
    assert "closing" not in done.output  # JSON alone
    ((recipe, rest),) = taken
    assert rest == (Path("elsewhere"), True, True)
    assert (recipe.budget.measure, recipe.budget.params) == ("params", 0.3)


def test_the_closing_is_said_whatever_the_gate_finds(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo.say_closing(finished)
    said = capsys.readouterr().out
    assert "MLP hidden units" in said and "speedup" in said
    assert "\n  secateur " in said.partition("Next:")[2]
