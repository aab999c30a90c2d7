"""Distillation as part of a run: `secateur recover` by one process and by two."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from tests.pipeline.runs.processes import RECIPE, run_stage


def recovered(folder: Path, processes: int) -> dict[str, torch.Tensor]:
    """The recovered weights of a run in `folder`, made by so many processes."""
    run_stage("recover", folder, RECIPE, processes)
    assert not (folder / "undistilled").exists()
    return load_file(folder / "model/model.safetensors")


def test_two_processes_recover_what_one_does(tmp_path: Path) -> None:
    one, two = (recovered(tmp_path / str(count), count) for count in (1, 2))
    plain = load_file(tmp_path / "1/pruned/model.safetensors")
    assert set(one) == set(two)
    gaps = torch.cat([(one[name] - two[name]).abs().flatten() for name in one]).mean()
    moved = torch.cat([(one[name] - plain[name]).abs().flatten() for name in one]).mean()
    assert gaps < 1e-2 * moved
