"""Engines that travel and those for DLA, by the stand-in of TensorRT's builder; what has none refuses them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from secateur.core.errors import EngineError, RecipeError
from secateur.export import engines, trt_engine
from secateur.export.build_options import BuildOptions
from secateur.export.engine_info import EngineInfo, Profile
from secateur.export.engines import build_engine
from secateur.export.trt_engine import load_plan
from tests.export.fake_trt import make_module
from tests.export.fake_trt_builder import make_builder


def build(
    monkeypatch: pytest.MonkeyPatch, path: Path, target: str = "tensorrt", *, gpu: str = "", **how: Any
) -> tuple[EngineInfo, Any, int]:
    """What was built by the stand-in of this version, with the builder's configuration and the network's flags."""
    options = {key: how.pop(key) for key in ("hardware", "versions") if key in how}
    trt, used = make_builder(**how)
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    monkeypatch.setattr(trt_engine, "gpu_capability", lambda: gpu)
    info = build_engine(path, target, profile=Profile(1, 2, 8), options=BuildOptions(**options))
    return info, used[1], used[0]


@pytest.fixture
def fp16(tmp_path: Path) -> Path:
    """One convolution in fp16, named as the stand-in names it."""
    return save(tmp_path / "model.fp16.onnx", "Conv", ["input", "w"], "conv")


def save(path: Path, operation: str, reads: list[str], name: str) -> Path:
    takes = helper.make_tensor_value_info("input", TensorProto.FLOAT16, ["batch", 3, 8, 8])
    gives = helper.make_tensor_value_info("logits", TensorProto.FLOAT16, ["batch", 4, 8, 8])
    weight = helper.make_tensor("w", TensorProto.FLOAT16, [4, 3, 1, 1], [0.0] * 12)
    graph = helper.make_graph([helper.make_node(operation, reads, ["logits"], name)], "one", [takes], [gives], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10), str(path))
    return path


def test_engines_that_travel(fp16: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info, config, flags = build(monkeypatch, fp16)
    assert (config.flags, config.hardware_compatibility_level.name, flags) == ({"TF32"}, "NONE", 2)
    assert info.options.plain and info.on_gpu == () and info.profile == Profile(1, 2, 8)
    info, config, _ = build(monkeypatch, fp16, hardware="ampere_plus", versions="newer")
    assert config.flags == {"TF32", "VERSION_COMPATIBLE", "EXCLUDE_LEAN_RUNTIME"}
    assert config.hardware_compatibility_level.name == "AMPERE_PLUS"
    assert EngineInfo.load(info.folder).options == BuildOptions("ampere_plus", "newer")
    info, config, _ = build(monkeypatch, fp16, hardware="same_capability", version="10.9.0")
    assert config.hardware_compatibility_level.name == "SAME_COMPUTE_CAPABILITY"


@pytest.mark.parametrize(("version", "flags", "typed"), [("10.3.0", {"FP16"}, 0), ("11.4.1", set(), 2)])
def test_dla_runs_what_it_can_and_the_rest_is_listed(
    version: str, flags: set[str], typed: int, fp16: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info, config, network = build(monkeypatch, fp16, "tensorrt:dla", version=version, cores=2)
    assert (config.default_device_type, config.DLA_core) == ("DLA", 0)
    assert config.flags == flags | {"TF32", "GPU_FALLBACK"}
    assert network == typed
    assert info.on_gpu == ("softmax",)
    assert info.folder.name == "tensorrt-dla.fp16"
    assert info.profile == Profile(2, 2, 2)
    assert config.profile.sizes == {"input": ((2, 3, 8, 8),) * 3}


@pytest.mark.parametrize(
    ("target", "how", "words"),
    [
        ("tensorrt:dla", {"version": "11.4.0", "cores": 2}, "needs DLA, which TensorRT 11.4.0 lacks"),
        ("tensorrt:dla", {}, "this machine has none: take the target tensorrt"),
        ("tensorrt:dla", {"cores": 1, "refuse": "layers"}, "runs none of the 2 layers of model.fp16.onnx"),
        ("tensorrt:dla", {"cores": 1, "versions": "newer"}, "for the one accelerator"),
        (
            "tensorrt",
            {"hardware": "same_capability"},
            "same-capability engines, which TensorRT 10.3.0 lacks: TensorRT 10.9",
        ),
        ("tensorrt", {"hardware": "ampere_plus", "gpu": "sm_87"}, r"not build on a Jetson \(sm_87\)"),
        ("tensorrt_rtx:sm_86", {"versions": "newer"}, "tensorrt_rtx:sm_86 does not build"),
        ("onnxruntime:cpu", {"hardware": "ampere_plus"}, "onnxruntime:cpu does not build"),
    ],
)
def test_what_a_runtime_lacks_is_refused(
    target: str, how: dict[str, Any], words: str, fp16: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EngineError, match=words):
        build(monkeypatch, fp16, target, **how)
    assert not list(fp16.parent.rglob("model.engine"))


def test_the_attention_operator_needs_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "attention.onnx", "Attention", ["input"] * 3, "attention")
    with pytest.raises(EngineError, match=r"^attention.onnx needs attention operator, which TensorRT 10.3.0 lacks"):
        build(monkeypatch, path)
    build(monkeypatch, path, version="10.14.0")


def test_a_timing_cache_is_gone_on_with(fp16: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = build(monkeypatch, fp16)[0].folder / engines.TIMING_CACHE
    assert cache.read_bytes() == b"+"
    build(monkeypatch, fp16)
    assert cache.read_bytes() == b"++"
    cache.write_bytes(b"other")
    with pytest.raises(EngineError, match="the timing cache is not one of this version of TensorRT: remove it"):
        build(monkeypatch, fp16)


def test_engines_for_newer_versions_are_loaded_by_the_lean_runtime_of_theirs(
    fp16: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = build(monkeypatch, fp16, versions="newer")[0]
    trt: Any = make_module(version="11.4.1")
    asked: list[str] = []

    def load(there: bool) -> ModuleType:
        trt.Runtime.load_runtime = lambda self, name: asked.append(name) or (self if there else None)
        return trt

    load_plan(load(True), b"plan", "the engine", info)
    assert asked == ["libnvinfer_lean.so.10"]
    with pytest.raises(EngineError, match=r"lean runtime libnvinfer_lean.so.10 does not load: install it"):
        load_plan(load(False), b"plan", "the engine", info)


def test_an_engine_for_dla_is_loaded_on_it(fp16: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = build(monkeypatch, fp16, "tensorrt:dla", cores=1)[0]
    trt: Any = make_module()
    trt.Runtime.DLA_core = -1
    seen: list[int] = []
    original = trt.Runtime.deserialize_cuda_engine
    trt.Runtime.deserialize_cuda_engine = lambda self, plan: seen.append(self.DLA_core) or original(self, plan)
    load_plan(trt, b"plan", "the engine", info)
    load_plan(trt, b"plan", "the engine")
    assert seen == [0, -1]


def test_other_words_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"^export.engines.hardware is 'turing', but must be one of this, same_cap"):
        BuildOptions(hardware="turing")  # type: ignore[arg-type]  # a word that is none of them
