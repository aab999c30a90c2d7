"""A target's runtime decides by which profiler a model is opened; what is missing is one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from secateur.benchmarks.layers import opened
from secateur.benchmarks.layers.opened import open_profiled
from secateur.benchmarks.layers.ort_layers import OrtLayers
from secateur.benchmarks.layers.torch_layers import TorchLayers
from secateur.benchmarks.layers.trt_layers import TrtLayers
from secateur.benchmarks.runners import Subject
from secateur.core.errors import BenchError
from secateur.core.input_spec import InputSpec
from secateur.export.targets import parse_typed_target
from secateur.export.trt_engine import TrtEngine
from tests.benchmarks.layers.graphs import graph
from tests.export.conftest import needs_ort
from tests.export.fake_trt import make_module


@needs_ort
def test_each_runtime_has_its_profiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = tmp_path / "model.engine"
    plan.write_bytes(b"plan")
    monkeypatch.setattr(opened, "open_engine", lambda path, target: TrtEngine(make_module(), path, "cpu"))
    module, path = nn.Linear(4, 4), graph(tmp_path / "small.onnx")
    subject = Subject("small", module, path, {"tensorrt": plan}, InputSpec.shaped((4,)))
    kinds = {"torch:cpu": TorchLayers, "onnxruntime:cpu": OrtLayers, "tensorrt": TrtLayers}
    for target, kind in kinds.items():
        profiled = open_profiled(subject, parse_typed_target(target), 2, 1, tmp_path / kind.__name__)
        profiled.close()
        assert isinstance(profiled, kind)


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    engine = Subject("small", engines={"tensorrt": tmp_path / "model.engine"})
    with pytest.raises(BenchError, match=r"small has no ONNX file beside its engine for tensorrt, .*: export it with"):
        open_profiled(engine, parse_typed_target("tensorrt"), 1, 1, tmp_path / "a")
    with pytest.raises(BenchError, match=r"small has no ONNX file in fp16: export it with .*precisions: \[fp16\]"):
        open_profiled(engine, parse_typed_target("onnxruntime:cpu@fp16"), 1, 1, tmp_path / "b")
