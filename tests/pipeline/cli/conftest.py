"""A run directory in which nothing has been done yet, and commands that run in this process."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from secateur.pipeline.cli import cli
from secateur.pipeline.runs.run_folder import RUN, claim

Command = Callable[..., Result]
RECIPE = {
    "model": {
        "name": "vit_tiny_patch16_224",
        "kwargs": {
            "img_size": 8,
            "patch_size": 4,
            "in_chans": 1,
            "embed_dim": 48,
            "depth": 1,
            "num_heads": 3,
            "num_classes": 10,
        },
    },
    "data": {"path": "digits"},
    "budget": {"macs": 0.6},
}


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of a finished run."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    claim(tmp_path / "run", RUN)
    (tmp_path / "run" / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    return tmp_path / "run"


@pytest.fixture
def secateur() -> Command:
    """Runs `secateur` with these words; what is no usage error is raised."""

    def command(*words: object) -> Result:
        return CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False)

    return command
