"""Model repositories: what Triton's schema reads from them, and that no GPU could load another one's engine."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from secateur.core.errors import EngineError, ExportError
from secateur.export.runner.tensors import TensorInfo
from secateur.export.serving.triton import dotted, write_triton
from tests.export.serving.conftest import make_engine


@pytest.fixture(scope="module")
def schema() -> ModuleType:
    """`model_config.proto`, as tritonclient ships it; its own package would load gRPC, which this does not need."""
    found = importlib.util.find_spec("tritonclient")
    if found is None or not found.submodule_search_locations:
        pytest.skip("tritonclient is not installed")
    path = Path(found.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(schema: ModuleType, path: Path) -> Any:
    from google.protobuf import text_format

    return text_format.Parse((path / "config.pbtxt").read_text(), schema.ModelConfig())


def test_graphs(graph: Path, tmp_path: Path, schema: ModuleType) -> None:
    found = write_triton(tmp_path / "repository", "small", [graph], largest=4)
    assert found.files == ("small_onnx/1/model.onnx", "small_onnx/labels.txt", "small_onnx/config.pbtxt")
    assert (tmp_path / "repository" / found.files[0]).read_bytes() == graph.read_bytes()
    assert (tmp_path / "repository" / found.files[1]).read_text().splitlines() == ["cat", 'd"og', "b ird", "ox;en"]
    config = read(schema, tmp_path / "repository" / "small_onnx")
    assert (config.name, config.backend, config.max_batch_size) == ("small_onnx", "onnxruntime", 4)
    assert (config.default_model_filename, dict(config.cc_model_filenames)) == ("model.onnx", {})
    (takes,), (gives,) = config.input, config.output
    assert (takes.name, takes.data_type, list(takes.dims)) == ("input", schema.TYPE_FP32, [3, 8, 8])
    assert (gives.name, list(gives.dims), gives.label_filename) == ("logits", [4], "labels.txt")
    assert config.instance_group[0].kind == schema.ModelInstanceGroup.KIND_CPU
    assert config.dynamic_batching.max_queue_delay_microseconds == 100


def test_each_gpu_has_its_own_engine_and_no_other(tmp_path: Path, schema: ModuleType) -> None:
    engines = [
        make_engine(tmp_path / "a", "tensorrt", "sm_87", "fp32"),
        make_engine(tmp_path / "b", "tensorrt", "sm_87", "fp16"),
        make_engine(tmp_path / "c", "tensorrt", "sm_110", "fp16"),
        make_engine(tmp_path / "d", "tensorrt:dla", "sm_87", "fp16"),
        make_engine(tmp_path / "e", "tensorrt_rtx:sm_86", "sm_86", "fp16"),
        replace(make_engine(tmp_path / "f", "tensorrt", "sm_87", "bf16"), plugin="python"),
    ]
    folder = tmp_path / "repository"
    found = write_triton(folder, "small", engines=engines)
    assert list(found.left_out) == ["tensorrt_rtx:sm_86 in fp16", "tensorrt in bf16"]
    config, dla = (read(schema, folder / name) for name in ("small_tensorrt", "small_dla"))
    assert dict(config.cc_model_filenames) == {"8.7": "model.sm_87.plan", "11.0": "model.sm_110.plan"}
    assert (config.backend, config.default_model_filename, config.max_batch_size) == ("tensorrt", "", 16)
    assert list(config.version_policy.specific.versions) == [1, 2]
    assert config.instance_group[0].kind == schema.ModelInstanceGroup.KIND_GPU
    assert not config.instance_group[0].secondary_devices
    (accelerator,) = dla.instance_group[0].secondary_devices
    assert accelerator.kind == schema.ModelInstanceGroup.SecondaryDevice.KIND_NVDLA
    plans = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*.plan")}
    assert plans == {
        "small_tensorrt/1/model.sm_87.plan": "tensorrt sm_87 fp32",
        "small_tensorrt/2/model.sm_87.plan": "tensorrt sm_87 fp16",
        "small_tensorrt/2/model.sm_110.plan": "tensorrt sm_110 fp16",
        "small_dla/1/model.sm_87.plan": "tensorrt:dla sm_87 fp16",
    }


def test_a_graph_that_the_cpu_cannot_run_is_left_out(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secateur.export.serving.triton.WITHOUT_KERNELS", ("fp32",))
    with pytest.raises(ExportError, match=r"model.onnx is left out: ONNX Runtime has no kernels for fp32 on the CPU"):
        write_triton(tmp_path / "repository", "small", [graph])
    found = write_triton(tmp_path / "repository", "small", [graph], [make_engine(tmp_path / "a", "tensorrt", "sm_87")])
    assert list(found.left_out) == ["model.onnx"] and not any("onnx" in file for file in found.files)


def test_a_fixed_batch_is_a_dimension(tmp_path: Path, schema: ModuleType) -> None:
    write_triton(tmp_path / "repository", "small", engines=[make_engine(tmp_path / "a", "tensorrt", "sm_87", batch=2)])
    config = read(schema, tmp_path / "repository" / "small_tensorrt")
    assert (config.max_batch_size, list(config.input[0].dims), list(config.output[0].dims)) == (0, [2, 3, 8, 8], [2, 4])
    assert not config.HasField("dynamic_batching")


def test_no_file_has_the_name_that_triton_takes_by_default(graph: Path, tmp_path: Path) -> None:
    engine = make_engine(tmp_path / "a", "tensorrt", "sm_87")
    found = write_triton(tmp_path / "repository", "small", [graph], [engine])
    assert "model.plan" not in {Path(file).name for file in found.files}
    text = (tmp_path / "repository" / "small_tensorrt" / "config.pbtxt").read_text()
    assert 'cc_model_filenames { key: "8.7" value: "model.sm_87.plan" }' in text
    assert "default_model_filename" not in text


def test_capabilities_as_triton_writes_them() -> None:
    assert [dotted(word) for word in ("sm_75", "sm_87", "sm_110", "sm_121")] == ["7.5", "8.7", "11.0", "12.1"]


def test_what_cannot_be_served_is_refused(graph: Path, tmp_path: Path) -> None:
    folder, engine = tmp_path / "repository", make_engine(tmp_path / "a", "tensorrt", "sm_87")
    wider = replace(engine, inputs=(TensorInfo("input", "uint8", (-1, 8, 8, 3)),), precision="fp32")
    for words, name, graphs, engines in (
        ("letters, digits", "../up", [graph], []),
        ("neither a graph nor an engine", "small", [], []),
        ("two graphs in fp32", "small", [graph, graph], []),
        ("two engines for sm_87 in fp16", "small", [], [engine, engine]),
        ("have input float32", "small", [], [engine, wider]),
        ("does not say for which GPU", "small", [], [replace(engine, compute_capabilities=("",))]),
        ("Triton knows bool, uint8", "small", [], [replace(engine, outputs=(TensorInfo("y", "complex64", (-1,)),))]),
    ):
        with pytest.raises(ExportError, match=re.escape(words)):
            write_triton(folder, name, graphs, engines)
    engine.path.write_bytes(b"another")
    with pytest.raises(EngineError, match=r"is not the file that engine.json"):
        write_triton(folder, "small", engines=[engine])
