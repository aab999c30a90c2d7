"""The score stage of a run: masks from a recipe, by one process and by two."""

from __future__ import annotations

from pathlib import Path

import torch

from secateur.pipeline.scores.score import Scores
from tests.forked import COMMAND
from tests.pipeline.runs.processes import RECIPE, run_stage, write_recipe
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
