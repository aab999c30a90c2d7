"""Engines of a run that are built on a device."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from secateur.core.errors import DeviceError
from secateur.core.files import sha256_file
from secateur.export.artefacts import BuildFile
from secateur.export.devices.device import Remote
from secateur.export.engine_info import EngineInfo
from secateur.pipeline.runs.recipe import make_recipe
from secateur.pipeline.runs.remote_build import build_on, device_folder, devices_of, engines_on
from tests.benchmarks.tiny_graphs import tiny_graph
from tests.export.devices.stand_in_ssh import StandIn, installed
from tests.export.test_engine_info import ENGINE

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
TARGETS = ["onnxruntime:cpu", "torch:cpu", "tensorrt_rtx:sm_86"]
RECIPE = {
    "model": {"name": "vit_tiny_patch16_224"},
    "data": {"path": "digits"},
    "budget": {"macs": 0.5},
    "export": {"targets": TARGETS},
}


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    return installed(tmp_path / "stand-in", monkeypatch)


def test_what_is_built_and_what_is_not(stand_in: StandIn, tmp_path: Path) -> None:
    recipe, remote = make_recipe(RECIPE, "here"), Remote(replace(stand_in.device, python=sys.executable))
    tiny_graph(tmp_path / "model.onnx")
    found = build_on(tmp_path, recipe, remote, print)
    folder = device_folder(tmp_path, "orin")
    assert found == BuildFile.load(folder) and [*found.skipped] == TARGETS[1:]
    (place,) = found.engines(folder)
    assert EngineInfo.load(place).target == "onnxruntime:cpu"
    assert engines_on(tmp_path, "orin", "pruned")[0] == {}  # the graph itself is what ONNX Runtime runs
    stand_in.refuse("Host key verification failed.")
    with pytest.raises(DeviceError):
        build_on(tmp_path, recipe, remote, print)
    assert BuildFile.load(folder) == found and EngineInfo.load(place).path.is_file()


def test_engines_of_an_earlier_graph_are_not_used(tmp_path: Path) -> None:
    place = device_folder(tmp_path, "orin") / "engines" / "tensorrt"
    place.mkdir(parents=True)
    digest = sha256_file(tiny_graph(tmp_path / "model.onnx"))
    info = replace(ENGINE, target="tensorrt", runtime="tensorrt", precision="fp32", onnx_sha256=digest, folder=place)
    info.save()
    BuildFile(("engines/tensorrt/model.engine", "engines/tensorrt/engine.json")).save(device_folder(tmp_path, "orin"))
    assert engines_on(tmp_path, "orin", "pruned")[0] == {"tensorrt": info} and devices_of(tmp_path) == ["orin"]
    assert engines_on(tmp_path, "orin", "dense")[0] == {} == engines_on(tmp_path, "thor", "pruned")[0]
    tiny_graph(tmp_path / "model.onnx", 2)
    engines, absent = engines_on(tmp_path, "orin", "pruned")
    assert not engines and "built from an earlier graph" in absent["tensorrt"]
