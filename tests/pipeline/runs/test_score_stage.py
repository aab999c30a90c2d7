"""The score stage of a run: masks from a recipe, by one process and by two."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from secateur.core.errors import RecipeError
from secateur.pipeline.runs.check import check_run
from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.score_stage import score_run
from secateur.pipeline.runs.stages import STAGES
from secateur.pipeline.scores.score import Scores
from tests.forked import COMMAND
from tests.pipeline.runs.handed import handed
from tests.pipeline.runs.processes import RECIPE, run_stage, write_recipe
from tests.pipeline.runs.small_run import make_inputs, recipe_of
from tests.ranks import two_ranks_run

MASKS = {"method": "xmask", "samples_per_class": 2, "options": {"epochs": 2, "kinds": ["mlp_hidden"]}}


def scored(folder: Path) -> Scores:
    """The scores of the run in `folder`."""
    assert not (folder / "xmask.pt").exists()
    return Scores.load(folder / "scores.safetensors")


def test_two_processes_score_what_one_does(tmp_path: Path) -> None:
    recipe = {**RECIPE, "score": MASKS}
    run_stage("score", tmp_path / "one", recipe)
    write_recipe(tmp_path / "two", recipe)
    two_ranks_run(COMMAND, words=["score", str(tmp_path / "two")])
    one, two = scored(tmp_path / "one"), scored(tmp_path / "two")
    assert one.options == MASKS["options"]
    (value,), (other,) = one.values.values(), two.values.values()
    assert value.shape == (10, 192)
    gaps = (value - other).abs()  # Adam turns rounding of a vanishing gradient into whole steps
    assert gaps.mean() < 1e-2 * (value - 1).abs().mean()
    assert torch.isfinite(value).all()


OWN = """
from torch.nn import functional

def usual(outputs, labels):
    return functional.cross_entropy(outputs, labels, reduction="none")

def mean(outputs, labels):
    return functional.cross_entropy(outputs, labels)

def other(outputs, labels):
    return outputs.square().mean()

def vague(outputs, labels):
    return outputs
"""


def test_a_loss_of_the_users_own_is_what_taylor_scores_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_losses.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    make_inputs(tmp_path)
    taylor = ("score.method=taylor", "score.options={}")

    def run_with(*settings: str) -> Run:
        return Run(tmp_path / "run", recipe_of(tmp_path, *taylor, *settings))

    def found(*settings: str) -> dict[str, torch.Tensor]:
        said: list[str] = []
        scores = score_run(handed(run_with(*settings), "score"), said.append)
        assert said == [f"taylor{' of ' * bool(settings)}{''.join(settings).partition('=')[2]} on 9 images"]
        return dict(scores.values)

    usual = found()
    assert any(value.std() > 0 for value in usual.values())
    for name in ("usual", "mean"):
        own = found(f"score.loss=own_losses:{name}")
        for group, value in usual.items():
            torch.testing.assert_close(own[group], value)
    assert any(not torch.allclose(one, usual[group]) for group, one in found("score.loss=own_losses:other").items())
    with pytest.raises(RecipeError, match=r"score.loss: own_losses:vague returns \[9, 3\] for a batch of 9"):
        found("score.loss=own_losses:vague")
    with pytest.raises(RecipeError, match=r"^score.loss: own_losses:absent: the module own_losses has no absent"):
        check_run(run_with("score.loss=own_losses:absent"))


def test_the_source_of_a_loss_decides_the_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "changed_losses.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    make_inputs(tmp_path)
    run = Run(tmp_path / "run", recipe_of(tmp_path, "score.method=taylor", "score.options={}", LOSS))
    (stage,) = (one for one in STAGES if one.name == "score")
    before = stage.identity(run, {})
    assert stage.identity(run, {}) == before
    (tmp_path / "changed_losses.py").write_text(OWN.replace("square", "abs"))
    changed = stage.identity(run, {})
    assert [key for key in before if before[key] != changed[key]] == ["recipe.score"]


LOSS = "score.loss=changed_losses:other"
