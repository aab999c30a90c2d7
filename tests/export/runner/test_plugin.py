"""The runner's sessions on NVIDIA's provider from a package, by a stand-in for it: no GPU is here."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

from secateur.export.runner.engines import unavailable
from secateur.export.runner.errors import UnavailableError
from secateur.export.runner.machine import this_machine
from secateur.export.runner.manifest import Built
from secateur.export.runner.plugin import PACKAGE, PROVIDER
from secateur.export.runner.runtimes import open_model
from tests.export.conftest import needs_ort
from tests.export.test_ort_plugin import StandIn

pytestmark = needs_ort
BUILT = Built("onnxruntime:tensorrt_rtx", "fp32", "onnx/x", "onnxruntime", "1.24")


def test_a_model_runs_on_its_devices_and_nowhere_else(cnn_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = StandIn(monkeypatch)
    open_model(cnn_onnx, "onnxruntime:tensorrt_rtx", 1).close()
    assert stand_in.calls == [(PROVIDER, "lib.so"), [PROVIDER], ("session.disable_cpu_ep_fallback", "1")]
    assert unavailable(BUILT, this_machine()) == ""
    StandIn(monkeypatch, active="CPUExecutionProvider")
    with pytest.raises(UnavailableError, match=f"asked for {PROVIDER}, but would silently run on another"):
        open_model(cnn_onnx, "onnxruntime:tensorrt_rtx")


def test_what_is_missing_is_said(cnn_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(words: str) -> None:
        with pytest.raises(UnavailableError, match=words):
            open_model(cnn_onnx, "onnxruntime:tensorrt_rtx")
        assert unavailable(BUILT, this_machine()) != ""

    StandIn(monkeypatch, gpus=0)
    told("finds no GPU that it serves here")
    StandIn(monkeypatch, refuse="register")
    told(r"does not load \(libcuda.so.1: cannot open shared object file\): it needs")
    StandIn(monkeypatch)
    monkeypatch.setitem(sys.modules, PACKAGE, None)
    told("`pip install onnxruntime-ep-nv-tensorrt-rtx`")
    other = dataclasses.replace(BUILT, target="onnxruntime:nowhere")
    assert "has no nowhere" in unavailable(other, this_machine())
