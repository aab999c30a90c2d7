"""Building and opening for any target: the files, and everything that is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from secateur.core.errors import EngineError, ExportError
from secateur.core.files import sha256_file
from secateur.export import graph_file
from secateur.export.engine_info import EngineInfo
from secateur.export.engines import build_engine, open_engine
from secateur.export.ort_engine import PRODUCTS, session_layers
from secateur.export.to_onnx import export_onnx
from secateur.export.trt_engine import gpu_capability
from tests.export.conftest import Cnn, needs_ort, needs_rtx

IMAGES = {"input": np.zeros((2, 3, 32, 32), np.float32)}
no_gpu = pytest.mark.skipif(bool(gpu_capability()), reason="there is a GPU here")


@needs_ort
def test_an_engine_of_onnx_runtime(onnx_files: dict[str, Path], tmp_path: Path) -> None:
    info = build_engine(onnx_files["fp32"], "onnxruntime:cpu", tmp_path)
    assert sorted(path.name for path in info.folder.iterdir()) == ["engine.json", "model.engine"]
    assert info.folder == tmp_path / "onnxruntime-cpu"
    assert (info.inspected, info.tf32, info.compute_capabilities) == ("session", False, ())
    assert info.onnx_sha256 == info.engine_sha256 == sha256_file(onnx_files["fp32"])
    assert EngineInfo.load(info.folder) == info
    for path, target in ((info.folder, None), (info.path, "onnxruntime:cpu"), (onnx_files["fp32"], "onnxruntime:cpu")):
        with open_engine(path, target, threads=1) as engine:
            assert engine.infer(IMAGES)["logits"].shape == (2, 10)


@needs_ort
def test_weights_beside_the_graph_come_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_file, "EMBED_LIMIT_BYTES", 1000)
    made = export_onnx(Cnn(64), tmp_path / "model.onnx", input_shape=(3, 8, 8))
    info = build_engine(made.path, "onnxruntime:cpu")
    assert info.folder == tmp_path / "engines" / "onnxruntime-cpu"
    (tmp_path / made.external).unlink()
    with open_engine(info.folder) as engine:
        assert engine.infer({"input": np.zeros((1, 3, 8, 8), np.float32)})["logits"].shape == (1, 4)


@needs_ort
def test_the_precision_names_the_folder_or_is_refused(onnx_files: dict[str, Path], tmp_path: Path) -> None:
    kinds = {layer.precision for layer in session_layers(onnx_files["fp16"], "cpu") if layer.kind in PRODUCTS}
    if "fp16" in kinds:
        info = build_engine(onnx_files["fp16"], "onnxruntime:cpu", tmp_path)
        assert (info.folder.name, info.precision) == ("onnxruntime-cpu.fp16", "fp16")
    else:  # a processor without fp16 products
        with pytest.raises(EngineError, match="has no fp16 kernels here"):
            build_engine(onnx_files["fp16"], "onnxruntime:cpu", tmp_path)
        assert list(tmp_path.iterdir()) == []


@needs_rtx
def test_a_build_that_fails_leaves_the_old_engine(onnx_files: dict[str, Path], tmp_path: Path) -> None:
    info = build_engine(onnx_files["fp32"], "tensorrt_rtx:sm_86", tmp_path)
    before = {path.name: path.read_bytes() for path in info.folder.iterdir()}
    assert set(before) == {"model.engine", "engine.json"}
    (tmp_path / "bad.onnx").write_bytes(onnx_files["fp32"].read_bytes()[:5000])
    with pytest.raises(ExportError, match="not a readable ONNX model"):
        build_engine(tmp_path / "bad.onnx", "tensorrt_rtx:sm_86", tmp_path)
    assert {path.name: path.read_bytes() for path in info.folder.iterdir()} == before
    assert json.loads(before["engine.json"])["schema"] == "secateur.engine/1"


@needs_rtx
@no_gpu
def test_an_engine_without_its_gpu_is_not_opened(onnx_files: dict[str, Path], tmp_path: Path) -> None:
    info = build_engine(onnx_files["fp32"], "tensorrt_rtx:sm_86", tmp_path)
    with pytest.raises(EngineError, match="needs an NVIDIA GPU with its driver"):
        open_engine(info.folder)


@needs_ort
def test_what_cannot_be_opened(onnx_files: dict[str, Path], tmp_path: Path) -> None:
    info = build_engine(onnx_files["fp32"], "onnxruntime:cpu", tmp_path)
    with pytest.raises(EngineError, match="was built for onnxruntime:cpu, but tensorrt was asked for"):
        open_engine(info.folder, "tensorrt")
    with pytest.raises(EngineError, match="there is no engine at"):
        open_engine(tmp_path / "absent")
    alone = tmp_path / "alone.engine"
    shutil.copyfile(info.path, alone)
    with pytest.raises(EngineError, match=r"has no engine.json beside it: name the target"):
        open_engine(alone)
    with open_engine(alone, "onnxruntime:cpu") as engine:
        engine.infer(IMAGES)
    for target in ("torch:cpu", "tensorrt_rtx:sm_86"):
        with pytest.raises(EngineError, match=f"model.fp32.onnx cannot run .* {target}"):
            open_engine(onnx_files["fp32"], target)
    info.path.write_bytes(b"changed")
    with pytest.raises(EngineError, match=r"is not the file that engine.json beside it describes"):
        open_engine(info.folder)


def test_what_cannot_be_built(onnx_files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="there is no engine to build"):
        build_engine(onnx_files["fp32"], "torch:cpu", tmp_path)
    with pytest.raises(EngineError, match="did you mean"):
        build_engine(onnx_files["fp32"], "tensorrtx", tmp_path)
    with pytest.raises(ExportError, match="there is no ONNX model"):
        build_engine(tmp_path / "absent.onnx", "onnxruntime:cpu", tmp_path)
    assert list(tmp_path.iterdir()) == []
