"""`secateur build`, here and on devices."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from secateur.export.devices.device import Device
from secateur.export.devices.registry import add_device
from secateur.pipeline.runs import runner
from tests.benchmarks.tiny_graphs import tiny_graph
from tests.export.devices.stand_in_ssh import installed
from tests.pipeline.cli.conftest import Command


def test_engines_are_built_on_a_device(
    run_dir: Path, secateur: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    installed(tmp_path / "stand-in", monkeypatch)
    add_device(Device("orin", "host", python=sys.executable))
    stages: list[str] = []
    monkeypatch.setattr(runner, "run_stages", lambda run, until, *more: stages.append(until))
    tiny_graph(run_dir / "model.onnx")
    words = ("build", run_dir, "--device", "orin", "--set", "export.targets=[onnxruntime:cpu, torch:cpu]")
    done = secateur(*words, "--json")
    assert stages == ["export"] and "orin: not built: torch:cpu" in done.stderr
    built = json.loads(done.stdout)["devices"]["orin"]["built"]
    assert built == [f"engines/onnxruntime-cpu/{name}" for name in ("model.engine", "engine.json")]
    assert all((run_dir / "devices" / "orin" / name).is_file() for name in built)


def test_keep_is_for_devices(run_dir: Path, secateur: Command) -> None:
    done = secateur("build", run_dir, "--keep")
    assert done.exit_code == 2 and "--keep is for work on a device" in done.output
