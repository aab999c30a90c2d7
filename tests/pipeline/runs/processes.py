"""Stages of a run made by several processes that `accelerate launch` starts."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

SECONDS = 240
KWARGS = {
    "img_size": 16,
    "patch_size": 8,
    "in_chans": 1,
    "num_classes": 10,
    "embed_dim": 48,
    "depth": 1,
    "num_heads": 3,
}
RECIPE = {
    "model": {"name": "vit_tiny_patch16_224", "kwargs": KWARGS},
    "data": {"path": "digits"},
    "budget": {"macs": 0.7},
    "score": {"method": "magnitude"},
    "recover": {"samples_per_class": 3, "distill": {"epochs": 1, "batch_size": 400, "lr": 1e-3}},
}
"""A run of seconds."""


def run_stage(command: str, folder: Path, recipe: Mapping[str, Any], processes: int) -> None:
    """Runs `secateur COMMAND FOLDER` on a new run with this recipe in so many processes, all of which must succeed."""
    folder.mkdir()
    (folder / "recipe.yaml").write_text(yaml.safe_dump(dict(recipe)))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    options = ["--cpu", f"--num_processes={processes}", f"--main_process_port={port}"]
    launch = ["-m", "accelerate.commands.launch", *options]
    command_line = ["-P", *(launch if processes > 1 else ()), "-m", "secateur", command, str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}
    subprocess.run([sys.executable, *command_line], env=environment, check=True, timeout=SECONDS)
