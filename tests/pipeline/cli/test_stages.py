"""The stage commands: what they print, redo, change and leave out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from click.testing import CliRunner

from secateur.core.errors import EngineError
from secateur.pipeline.cli import cli
from secateur.pipeline.runs import distributed
from secateur.pipeline.runs.manifest import read_manifest
from secateur.pipeline.runs.stage_facts import stage_facts
from tests.pipeline.cli.conftest import Command

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="the run leaves torch:cuda out, which is here")


def test_a_stage_that_is_up_to_date_is_not_done_again_unless_forced(run: Path, secateur: Command) -> None:
    before = read_manifest(run)
    assert secateur("plan", run).stdout.splitlines() == [str(run / "plan.json"), *stage_facts(run, "plan")]
    assert read_manifest(run) == before
    (run / "plan.json").touch()
    made = (run / "plan.json").stat().st_mtime_ns
    secateur("plan", run, "--force")
    assert (run / "plan.json").stat().st_mtime_ns > made
    assert read_manifest(run)["plan"].outputs == before["plan"].outputs
    assert read_manifest(run)["score"] == before["score"]  # the stages before it are not forced


def test_json_is_the_manifests_entry(run: Path, secateur: Command) -> None:
    content = json.loads(secateur("export", run, "--json").stdout)
    assert set(content["outputs"]) >= {"model.onnx", "model.dense.onnx", "export.json"}


def test_settings_change_the_recipe(run: Path, secateur: Command) -> None:
    secateur("plan", run, "--set", "budget.macs=0.65")
    assert yaml.safe_load((run / "recipe.yaml").read_text())["budget"]["macs"] == 0.65


def test_what_was_left_out_is_said_on_stderr(run: Path, secateur: Command) -> None:
    done = CliRunner().invoke(cli, ["bench", str(run)])
    assert "not measured: torch:cuda: " in done.output
    with pytest.raises(EngineError, match=r"^nothing was built \(torch:cpu: PyTorch runs the model itself"):
        secateur("build", run)


def test_bench_is_forced_too_and_only_the_stage_is(run: Path, secateur: Command) -> None:
    measured = (run / "bench.json").read_bytes()
    secateur("bench", run)
    assert (run / "bench.json").read_bytes() == measured
    secateur("bench", run, "--force")
    assert (run / "bench.json").read_bytes() != measured
    assert secateur("bench", run, "--force", "--seconds", 0.1).exit_code == 2


@pytest.mark.parametrize("command", ["recover", "score"])
def test_the_other_processes_of_a_launcher_take_part(
    command: str, run: Path, secateur: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    helped: list[Path] = []
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(distributed, "take_part", lambda folder, stages: helped.append(folder))
    assert secateur(command, run, "--set", "seed=1").stdout == ""
    assert helped == [run]
    assert yaml.safe_load((run / "recipe.yaml").read_text())["seed"] == 0  # the first process changes the recipe
