"""Stages of a run made by several processes that `accelerate launch` starts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from secateur.pipeline.runs.run_folder import RUN, claim
from tests.forked import finished, secateur
from tests.ranks import free_port

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
    "recover": {
        "samples_per_class": 3,
        "reconstruct": {"epochs": 1, "batch_size": 400, "lr": 1e-3, "precision": "no"},
        "distill": {"epochs": 1, "batch_size": 400, "lr": 1e-3},
    },
}
"""A run of seconds."""
PYTHON = [sys.executable, "-P"]
LAUNCH = [*PYTHON, "-m", "accelerate.commands.launch", "--multi_gpu", "--tee=3"]
"""Starts processes on CPUs too."""
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}


def write_recipe(folder: Path, recipe: Mapping[str, Any]) -> None:
    """Begins a run."""
    claim(folder, RUN)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(dict(recipe)))


def workers(logs: Path) -> int:
    """How many processes the launcher started, by their logs."""
    return len(list(logs.glob("*/attempt_0/*/stdout.log")))


def run_stage(command: str, folder: Path, recipe: Mapping[str, Any]) -> None:
    """Runs `secateur COMMAND FOLDER` on a new run of this recipe in one process, which must succeed."""
    write_recipe(folder, recipe)
    assert finished(secateur(command, folder)) == [0]


def launch_stage(command: str, folder: Path, recipe: Mapping[str, Any]) -> None:
    """Runs `secateur COMMAND FOLDER` on a new run of this recipe in two launched processes; both must succeed."""
    write_recipe(folder, recipe)
    logs = folder.with_name(f"{folder.name}-logs")
    launch = [*LAUNCH, "--num_processes=2", f"--main_process_port={free_port()}", f"--log_dir={logs}"]
    subprocess.run([*launch, "-m", "secateur", command, str(folder)], env=ENVIRONMENT, check=True, timeout=SECONDS)
    assert workers(logs) == 2
