"""Launchers: one that starts fewer processes than it was asked for is not taken at its word."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch

from secateur.core.errors import RunError
from secateur.pipeline.runs.distributed import check_launch
from tests.pipeline.runs.processes import ENVIRONMENT, PYTHON, RECIPE, SECONDS, write_recipe


@pytest.mark.skipif(torch.cuda.device_count() > 1, reason="accelerate starts a process for each of several GPUs")
def test_one_process_instead_of_two_is_refused(tmp_path: Path) -> None:
    write_recipe(tmp_path / "run", RECIPE)
    launch = [*PYTHON, "-m", "accelerate.commands.launch", "--num_processes=2", "-m", "secateur", "recover"]
    command = [*launch, str(tmp_path / "run")]
    result = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=SECONDS)
    assert result.returncode != 0
    assert "secateur: accelerate launch was asked for several processes but started only this one" in result.stderr
    assert "give it --multi_gpu instead of --cpu" in result.stderr
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["recipe.yaml"]


def test_what_other_launchers_set_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ACCELERATE_USE_CPU", "MASTER_ADDR", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    check_launch()
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")  # of a cluster
    check_launch()
    monkeypatch.setenv("ACCELERATE_USE_CPU", "False")
    with pytest.raises(RunError, match="started only this one"):
        check_launch()
    monkeypatch.setenv("WORLD_SIZE", "2")
    check_launch()
