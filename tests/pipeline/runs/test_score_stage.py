"""The score stage of a run: masks from a recipe, by one process and by two."""

from __future__ import annotations

from pathlib import Path

import torch

from secateur.pipeline.scores.score import Scores
from tests.pipeline.runs.processes import RECIPE, run_stage

MASKS = {"method": "xmask", "samples_per_class": 2, "options": {"epochs": 2, "kinds": ["mlp_hidden"]}}


def scored(folder: Path, processes: int) -> Scores:
    """The scores of a run in `folder`, made by so many processes."""
    run_stage("score", folder, {**RECIPE, "score": MASKS}, processes)
    assert not (folder / "xmask.pt").exists()
    return Scores.load(folder / "scores.safetensors")


def test_two_processes_score_what_one_does(tmp_path: Path) -> None:
    one, two = (scored(tmp_path / str(count), count) for count in (1, 2))
    assert one.options == MASKS["options"]
    (value,), (other,) = one.values.values(), two.values.values()
    assert value.shape == (10, 192)
    gaps = (value - other).abs()  # Adam turns rounding of a vanishing gradient into whole steps
    assert gaps.mean() < 1e-2 * (value - 1).abs().mean()
    assert torch.isfinite(value).all()
