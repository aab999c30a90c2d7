"""`secateur init`: a commented recipe, from options or from answers."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from secateur.core.errors import RecipeError, SecateurError
from secateur.pipeline.cli import init
from secateur.pipeline.runs.recipe import read_recipe
from tests.pipeline.cli.conftest import Command

WORDS = ("--model", "resnet18", "--data", "images", "--target", "onnxruntime:cpu", "--budget", "macs=0.5")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_options_become_a_recipe_and_no_file_is_overwritten(folder: Path, secateur: Command) -> None:
    said = secateur("init", "half.yaml", *WORDS, "--weights", "best.pth", "--no-ema")
    assert said.stdout == "half.yaml is written: start with `secateur run half.yaml`\n"
    recipe = read_recipe(folder / "half.yaml")
    assert (recipe.model.name, recipe.model.weights, recipe.model.ema) == ("resnet18", "best.pth", False)
    assert (recipe.data.path, recipe.budget.macs, recipe.bench.targets) == ("images", 0.5, ("onnxruntime:cpu",))
    before = (folder / "half.yaml").read_bytes()
    with pytest.raises(RecipeError, match=r"half\.yaml exists already, and is not overwritten"):
        secateur("init", "half.yaml", *WORDS)
    assert (folder / "half.yaml").read_bytes() == before


def test_what_is_missing_is_asked_for(folder: Path, secateur: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(question: str, default: str | None) -> str:
        asked.append(question.split()[0])
        return default or {"model": "resnet18", "images": "pictures"}[asked[-1]]

    monkeypatch.setattr(init.sys, "stdin", type("Terminal", (), {"isatty": lambda self: True})())
    monkeypatch.setattr(click, "prompt", answer)
    init.command.callback(Path("recipe.yaml"), None, None, None, "params=0.4", None, None)  # type: ignore[misc]
    assert asked == ["model", "images", "target"]
    recipe = read_recipe(folder / "recipe.yaml")
    assert (recipe.data.path, recipe.budget.params, recipe.model.pretrained) == ("pictures", 0.4, True)


def test_without_a_terminal_what_is_missing_is_a_usage_error(folder: Path, secateur: Command) -> None:
    said = secateur("init", *WORDS[:2])
    assert said.exit_code == 2
    assert "--data, --target, --budget must be given where there is no terminal to ask in" in said.stderr
    assert not [*folder.iterdir()]


@pytest.mark.parametrize(
    ("place", "word", "message"),
    [
        (1, "resnet81", "did you mean"),
        (5, "orin", "orin"),
        (7, "macs=2", "macs is 2"),
        (7, "half", "the budget is 'half'"),
    ],
)
def test_a_wrong_word_writes_nothing(place: int, word: str, message: str, folder: Path, secateur: Command) -> None:
    words = [*WORDS[:place], word, *WORDS[place + 1 :]]
    with pytest.raises(SecateurError, match=message):
        secateur("init", *words)
    assert not [*folder.iterdir()]
