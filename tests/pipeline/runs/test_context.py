"""What the stages of a run share."""

from __future__ import annotations

from pathlib import Path

import pytest

from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.recipe import make_recipe
from tests.pipeline.models.small import SMALL, VIT, small_vit, write_safetensors


def test_a_model_without_weights_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_safetensors(small_vit(in_chans=1, num_classes=10).state_dict(), tmp_path / "x.safetensors")
    model = {"name": VIT, "kwargs": {**SMALL, "in_chans": 1, "num_classes": 10}}
    rest = {"data": {"path": "digits"}, "budget": {"macs": 0.5}}
    assert Run(tmp_path, make_recipe({"model": {**model, "weights": str(path)}, **rest}, "x")).dense is not None
    assert not caplog.records
    assert Run(tmp_path, make_recipe({"model": model, **rest}, "x")).dense is not None
    assert f"{VIT} has random weights" in caplog.text
