"""`secateur run`: what it shows of a run that is done, and when it may change one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from secateur.core.errors import RunError
from secateur.pipeline.cli import run
from secateur.pipeline.models.spec import ModelSpec
from secateur.pipeline.report import run as whole_run
from secateur.pipeline.runs.manifest import read_manifest
from secateur.pipeline.runs.recipe import make_recipe
from secateur.pipeline.runs.shipped import shipped_path
from tests.pipeline.cli.conftest import Command

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="the run leaves torch:cuda out, which is here")


@pytest.fixture
def done(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The finished run, as that of `half.yaml`, in a working folder of its own."""
    shutil.copytree(finished, tmp_path / "runs" / "half")
    shutil.copyfile(finished / "recipe.yaml", tmp_path / "half.yaml")
    monkeypatch.chdir(tmp_path)
    return Path("runs/half")


def test_a_finished_run_is_shown_and_not_repeated(done: Path, secateur: Command) -> None:
    before = read_manifest(done)
    said = secateur("run", "half.yaml")
    assert read_manifest(done) == before
    for words in ("top-1 accuracy", "MACs", "latency torch:cpu (p50)", f"report: {done / 'report.html'}"):
        assert words in said.stdout
    assert "not measured: torch:cuda: " in said.stdout
    assert "not built: torch:cpu: " in said.stderr


def test_json(done: Path, secateur: Command) -> None:
    content = json.loads(secateur("run", "half.yaml", "--json").stdout)
    assert (content["run"], content["report"]) == (str(done), str(done / "report.html"))
    assert [row["name"] for row in content["table"]][:2] == ["top-1 accuracy", "MACs"]


def test_another_recipe_does_not_change_a_run_unless_it_may(done: Path, secateur: Command) -> None:
    recipe = (done / "recipe.yaml").read_bytes()
    with pytest.raises(RunError, match=r"bench\.seconds differ"):
        secateur("run", "half.yaml", "--set", "bench.seconds=0.05")
    assert (done / "recipe.yaml").read_bytes() == recipe
    secateur("run", "half.yaml", "--set", "bench.seconds=0.05", "--update")
    assert (done / "recipe.yaml").read_bytes() != recipe


def test_a_run_goes_where_it_is_told(done: Path, secateur: Command) -> None:
    shutil.move(done, "elsewhere")
    assert "report: elsewhere/report.html" in secateur("run", "half.yaml", "--out", "elsewhere").stdout
    assert not done.exists()


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Path]]:
    """What is taken through all stages, and the folders of the runs."""
    calls: list[tuple[Any, Path]] = []
    monkeypatch.setattr(run, "take", lambda recipe, folder, *rest: calls.append((recipe, folder)))
    return calls


def test_a_model_with_images_and_a_budget_needs_no_recipe(taken: list[tuple[Any, Path]], secateur: Command) -> None:
    words = ("--data", "digits", "--budget", "macs=0.5", "--weights", "w/best.pth", "--ema", "--target", "torch:cpu")
    secateur("run", "test_vit", *words)
    secateur("run", "test_vit", *words[:4], "--out", "here")
    (first, folder), (second, place) = taken
    recipe = make_recipe(first, "test")
    assert (recipe.model, recipe.data.path) == (ModelSpec("test_vit", "w/best.pth", ema=True), "digits")
    assert (recipe.budget.macs, recipe.bench.targets, recipe.export.targets) == (0.5, ("torch:cpu",), ())
    assert (folder, place) == (Path("runs/best-macs-0.5"), Path("here"))
    assert make_recipe(second, "test").model == ModelSpec("test_vit", pretrained=True)


def test_a_recipe_is_a_file_or_one_that_ships(taken: list[tuple[Any, Path]], secateur: Command) -> None:
    secateur("run", "absent.yaml")
    secateur("run", "deit-tiny")
    assert taken == [(Path("absent.yaml"), Path("runs/absent")), (shipped_path("deit-tiny"), Path("runs/deit-tiny"))]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["test_vit"], "test_vit is no recipe: give a .yaml file, or --data and --budget too"),
        (["test_vit", "--data", "digits"], "test_vit is no recipe"),
        (["half.yaml", "--budget", "macs=0.5"], "--budget is for a run without a recipe: change half.yaml"),
        (["deit-tiny", "--no-ema"], "--ema is for a run without a recipe"),
    ],
)
def test_words_that_do_not_go_together_are_a_usage_error(
    words: list[str], message: str, taken: list[tuple[Any, Path]], secateur: Command
) -> None:
    said = secateur("run", *words)
    assert (said.exit_code, taken) == (2, [])
    assert message in " ".join(said.stderr.split())


def test_the_recipe_that_was_made_is_in_the_run_and_said(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(whole_run, "run", lambda *_, **__: None)
    run.take({}, finished, (), False, False)
    assert f"recipe: {finished / 'recipe.yaml'}\n" in capsys.readouterr().out
    run.take(finished / "recipe.yaml", finished, (), False, False)
    assert "recipe:" not in capsys.readouterr().out


def test_a_dry_run_says_what_would_be_done(done: Path, secateur: Command) -> None:
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    lines = secateur("run", "half.yaml", "--dry-run", "--update", "--set", "bench.seconds=0.05").stdout.splitlines()
    assert [line.partition(":")[0] for line in lines[:4]] == ["model", "units", "images", "budget"]
    stages = {line.split()[0]: line for line in lines[4:-1]}
    assert "up to date" in stages["score"] and " s last time" in stages["score"]
    assert "to do, recipe.bench changed" in stages["bench"]
    assert lines[-1] == f"nothing was written: without --dry-run, the run goes to {done}"
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before
