"""An engine that is built on a device, behind a stand-in for ssh."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from secateur.core.errors import DeviceError, UnsupportedError
from secateur.export.build_options import PLAIN, BuildOptions
from secateur.export.devices.device import Remote
from secateur.export.engine_info import EngineInfo
from secateur.export.engines import build_engine
from tests.benchmarks.tiny_graphs import tiny_graph
from tests.export.devices.stand_in_ssh import StandIn

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


@pytest.fixture
def remote(stand_in: StandIn) -> Remote:
    return Remote(replace(stand_in.device, python=sys.executable))


def test_it_is_the_engine_that_is_built_here(remote: Remote, stand_in: StandIn, tmp_path: Path) -> None:
    graph = tiny_graph(tmp_path / "model.onnx", 2)
    here = build_engine(graph, "onnxruntime:cpu", tmp_path / "here")
    there = build_engine(graph, "onnxruntime:cpu", tmp_path / "there", remote=remote)
    assert there.conditions is not None and here.conditions is None
    assert replace(there, seconds=here.seconds, folder=here.folder, conditions=None) == here
    assert EngineInfo.load(there.folder) == there and there.path.read_bytes() == graph.read_bytes()
    assert not list((stand_in.files / "jobs").iterdir())


def test_a_device_that_cannot_build_leaves_the_older_engine(remote: Remote, tmp_path: Path) -> None:
    graph = tiny_graph(tmp_path / "model.onnx")
    before = build_engine(graph, "onnxruntime:cpu", tmp_path)
    with pytest.raises(DeviceError, match="orin: "):
        build_engine(graph, "onnxruntime:cuda", tmp_path, remote=remote)
    assert EngineInfo.load(before.folder) == before
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["onnxruntime-cpu", "stand-in"]


@pytest.mark.parametrize(
    ("target", "options", "said"),
    [
        ("tensorrt_rtx:sm_86", PLAIN, "build them here, without a GPU"),
        ("tensorrt", BuildOptions(hardware="ampere_plus"), "export.engines is not for engines"),
    ],
)
def test_what_the_runner_does_not_build_is_said(
    remote: Remote, stand_in: StandIn, tmp_path: Path, target: str, options: BuildOptions, said: str
) -> None:
    with pytest.raises(UnsupportedError, match=said):
        build_engine(tiny_graph(tmp_path / "model.onnx"), target, tmp_path, options=options, remote=remote)
    assert stand_in.calls == 0
