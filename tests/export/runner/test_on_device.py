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
    goal = {"target": "onnxruntime:cpu", "models": list(models), "keys": [[2, "onnxruntime:cpu", "hot"]], **words}
    each = {"seconds": 0.02, "samples": 20, "least": 10, "processes": 1}
    return {"goals": [goal], **each, "threads": 1, "seed": 0}


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


def test_several_processes_open_the_models_anew_and_every_other_one_in_turned_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_device, "Watcher", partial(Watcher, root=tmp_path / "nothing"))
    tiny_graph(tmp_path / "large.onnx", 200)
    tiny_graph(tmp_path / "small.onnx")
    orders: list[dict[str, Any]] = []
    real = json.dumps
    monkeypatch.setattr(on_device.json, "dumps", lambda content: orders.append(content) or real(content))
    said: list[str] = []
    asked = {**job("large.onnx", "small.onnx"), "processes": 3, "least": 4, "samples": 8}
    (one,) = on_device.bench_job(asked, tmp_path, said.append)["found"]
    dense, pruned = one["samples_ns"]
    assert one["processes"] == [8, 8, 8] and len(dense) == len(pruned) == 24
    assert np.median(dense) > np.median(pruned)
    assert [order["turned"] for order in orders] == [False, True, False]
    assert "onnxruntime:cpu: process 2 of 3: measuring" in said
    (tmp_path / "small.onnx").write_bytes(b"no graph")
    found = on_device.bench_job(asked, tmp_path, quiet)
    assert not found["found"] and "small.onnx" in found["skipped"]["onnxruntime:cpu"]


def test_the_first_of_two_sides_is_the_dense_one_in_turned_order_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = ["large.onnx", "small.onnx"]
    for name, products in zip(models, (200, 1), strict=True):
        tiny_graph(tmp_path / name, products)
    order: list[str] = []
    monkeypatch.setattr(
        on_device, "open_model", lambda path, *given: order.append(path.name) or open_model(path, *given)
    )
    asked = {**job(), "target": "onnxruntime:cpu", "models": models, "batch": 1, "mode": "hot"}
    for turned in (False, True):
        dense, pruned = on_device.timed(asked, tmp_path, turned, quiet)
        assert np.median(dense) > np.median(pruned)
    assert order == [*models, *models[::-1]]


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
