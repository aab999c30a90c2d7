"""A recipe through all stages: from a file, from its content, or read already."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
import yaml

from secateur.core.errors import RunError
from secateur.pipeline.report.run import run
from secateur.pipeline.runs.recipe import RecipeLike, read_recipe

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="the run leaves torch:cuda out, which is here")


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("kind", ["path", "word", "content", "recipe"])
def test_a_recipe_is_a_file_its_content_or_itself(kind: str, folder: Path, finished: Path) -> None:
    path = finished / "recipe.yaml"
    recipes: dict[str, RecipeLike] = {
        "path": path,
        "word": str(path),
        "content": yaml.safe_load(path.read_text()),
        "recipe": read_recipe(path),
    }
    said: list[tuple[str, str]] = []
    done = run(recipes[kind], folder, report=lambda stage, message: said.append((stage, message)))
    assert {message for _, message in said} == {"up to date"}
    assert said[-1][0] == "report"
    assert done.small(torch.zeros(1, 1, 16, 16)).shape == done.dense(torch.zeros(1, 1, 16, 16)).shape == (1, 3)


def test_settings_make_another_recipe_that_must_be_allowed(folder: Path, finished: Path) -> None:
    with pytest.raises(RunError, match=r"report\.examples differ"):
        run(finished / "recipe.yaml", folder, ["report.examples=2"])
    assert run(finished / "recipe.yaml", folder, ["report.examples=2"], update=True).recipe.report.examples == 2


def test_single_stages_are_done_and_forced(folder: Path) -> None:
    said: list[tuple[str, str]] = []

    def again(*settings: str, force: bool = False) -> list[str]:
        said.clear()
        run(None, folder, settings, until="plan", force=force, report=lambda *words: said.append(words))
        return [stage for stage, message in said if message == "up to date"]

    assert again() == ["groups", "score", "plan"]
    assert again(force=True) == ["groups", "score"]
    before = run(None, folder, until="plan").plan
    assert again("budget.macs=0.9") == ["groups", "score"]
    assert run(None, folder, until="plan").plan != before


def test_a_finished_run_is_at_hand(folder: Path) -> None:
    done = run(None, folder)
    assert done.bench.pruned.macs == done.groups.macs(done.plan.kept)
    assert done.bench.pruned.params == sum(value.numel() for value in done.small.parameters())


@pytest.mark.parametrize(("until", "words"), [("purne", "did you mean 'prune'"), ("", "no stage ''")])
def test_an_unknown_stage_is_refused_before_anything_is_written(
    finished: Path, tmp_path: Path, until: str, words: str
) -> None:
    with pytest.raises(RunError, match=words):
        run(finished / "recipe.yaml", tmp_path / "new", until=until)
    assert not (tmp_path / "new").exists()
