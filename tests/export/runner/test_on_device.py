"""What runs on a device for `bench --device`."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from secateur.export.runner import on_device
from secateur.export.runner.runtimes import open_model
from secateur.export.runner.sensors.watcher import Watcher
from tests.benchmarks.tiny_graphs import tiny_graph
from tests.export.runner.sensors.stand_ins import ORIN, planted

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


def job(*models: str, **words: Any) -> dict[str, Any]:
    goal = {"target": "onnxruntime:cpu", "models": list(models), "keys": [[2, "onnxruntime:cpu"]], **words}
    return {"goals": [goal], "seconds": 0.02, "samples": 20, "threads": 1, "seed": 0}


def quiet(message: str) -> None:
    pass


@pytest.fixture
def orin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine has the sensors of an Orin, which are read often."""
    root = planted(tmp_path / "root", ORIN)
    monkeypatch.setattr(on_device, "Watcher", lambda interval: Watcher(interval, root))
    for name, value in (("IDLE_S", 0.3), ("LOAD_S", 0.3), ("INTERVAL", 0.01)):
        monkeypatch.setattr(on_device, name, value)


def test_two_models_in_turns_with_energy_and_conditions(orin: None, tmp_path: Path) -> None:
    tiny_graph(tmp_path / "large.onnx", 3)
    tiny_graph(tmp_path / "small.onnx")
    (tmp_path / "job.json").write_text(json.dumps(job("large.onnx", "small.onnx")))
    on_device.main([str(tmp_path / "job.json"), str(tmp_path / "out.json")])
    found = json.loads((tmp_path / "out.json").read_text())
    (one,) = found["found"]
    assert found["schema"] == on_device.SCHEMA and found["threads"] == 1 and found["versions"]["onnxruntime"]
    assert (one["key"], one["batch"]) == ("onnxruntime:cpu", 2)
    assert len(one["samples_ns"]) == 2 and len({len(side) for side in one["samples_ns"]}) == 1
    energies = {(each["model"], each["rail"]): each for each in one["conditions"]["energy"]}
    assert {*energies} == {(model, rail) for model in ("dense", "pruned") for rail in ("VDD_IN", "VDD_CPU_GPU_CV")}
    assert energies["dense", "VDD_IN"]["idle_w"] == pytest.approx(6.35) and not one["conditions"]["faults"]
    assert energies["dense", "VDD_IN"]["mj"] == pytest.approx(0, abs=1e-9)  # the stand-in's power stays as it is
    assert one["conditions"]["settings"]["jetson_clocks"] == "off"


def test_what_cannot_be_measured_is_said(orin: None, tmp_path: Path) -> None:
    tiny_graph(tmp_path / "fixed.onnx", batch=3)
    for words, why in (({}, "a batch of 2 was asked for"), ({"target": "tensorrt"}, "TensorRT")):
        found = on_device.bench_job(job("fixed.onnx", **words), tmp_path, quiet)
        assert not found["found"] and why in found["skipped"]["onnxruntime:cpu"]


def test_a_machine_without_sensors_waits_for_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_device, "Watcher", partial(Watcher, root=tmp_path / "nothing"))
    monkeypatch.setattr(on_device, "IDLE_S", 1e6)
    tiny_graph(tmp_path / "small.onnx")
    said: list[str] = []
    (one,) = on_device.bench_job(job("small.onnx"), tmp_path, said.append)["found"]
    assert (
        one["conditions"]["absent"] and not one["conditions"]["energy"] and not any("energy" in line for line in said)
    )


def test_inputs_are_normal_numbers_or_zeros(tmp_path: Path) -> None:
    for kind, dtype in ((TensorProto.FLOAT, np.float32), (TensorProto.INT64, np.int64)):
        with open_model(tiny_graph(tmp_path / "x.onnx", kind=kind), "onnxruntime:cpu", 1) as model:
            drawn = on_device.drawn(model, 5, seed=0)["input"]
        assert drawn.shape == (5, 8) and drawn.dtype == dtype and drawn.any() == (dtype is np.float32)
