"""The score stage of a run: masks from a recipe, by one process and by two."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import torch
import yaml

from secateur.pipeline.scores.score import Scores
from tests.pipeline.runs.test_distill_stage import CONTENT

MASKS = {"method": "xmask", "samples_per_class": 2, "options": {"epochs": 2, "kinds": ["mlp_hidden"]}}


def scored(folder: Path, processes: int) -> Scores:
    """The scores of a run in `folder`, made by so many processes."""
    folder.mkdir()
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**CONTENT, "score": MASKS}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {**os.environ, "OMP_NUM_THREADS": "1"}
    if processes > 1:
        common |= {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    children = [
        subprocess.Popen(
            [sys.executable, "-P", "-m", "secateur", "score", str(folder)],
            env={**common, **({"RANK": str(rank), "LOCAL_RANK": str(rank)} if processes > 1 else {})},
            stdout=subprocess.DEVNULL,
        )
        for rank in range(processes)
    ]
    assert [child.wait(240) for child in children] == [0] * processes
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
