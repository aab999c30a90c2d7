"""Distillation as part of a run: `secateur recover` by one process and by two."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import torch
import yaml
from safetensors.torch import load_file

KWARGS = {
    "img_size": 16,
    "patch_size": 8,
    "in_chans": 1,
    "num_classes": 10,
    "embed_dim": 48,
    "depth": 1,
    "num_heads": 3,
}
CONTENT = {
    "model": {"name": "vit_tiny_patch16_224", "kwargs": KWARGS},
    "data": {"path": "digits"},
    "budget": {"macs": 0.7},
    "score": {"method": "magnitude"},
    "recover": {"samples_per_class": 3, "distill": {"epochs": 1, "batch_size": 400, "lr": 1e-3}},
}


def recover(folder: Path, processes: int) -> dict[str, torch.Tensor]:
    """The recovered weights of a run in `folder`, made by so many processes."""
    folder.mkdir()
    (folder / "recipe.yaml").write_text(yaml.safe_dump(CONTENT))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {**os.environ, "OMP_NUM_THREADS": "1"}
    if processes > 1:
        common |= {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    children = [
        subprocess.Popen(
            [sys.executable, "-P", "-m", "secateur", "recover", str(folder)],
            env={**common, **({"RANK": str(rank), "LOCAL_RANK": str(rank)} if processes > 1 else {})},
            stdout=subprocess.DEVNULL,
        )
        for rank in range(processes)
    ]
    assert [child.wait(240) for child in children] == [0] * processes
    assert not (folder / "undistilled").exists()
    return load_file(folder / "model/model.safetensors")


def test_two_processes_recover_what_one_does(tmp_path: Path) -> None:
    one, two = (recover(tmp_path / str(count), count) for count in (1, 2))
    plain = load_file(tmp_path / "1/pruned/model.safetensors")
    assert set(one) == set(two)
    gaps = torch.cat([(one[name] - two[name]).abs().flatten() for name in one]).mean()
    moved = torch.cat([(one[name] - plain[name]).abs().flatten() for name in one]).mean()
    assert gaps < 1e-2 * moved
