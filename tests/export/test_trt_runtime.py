"""Importing the runtimes and reading what they say."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from secateur.core.errors import EngineError, MissingPackageError
from secateur.export.engines import build_engine
from secateur.export.trt_runtime import clean_message, import_runtime, make_logger, numpy_name
from tests.export.fake_trt import DataType, make_module


@pytest.mark.parametrize(("runtime", "extra"), [("tensorrt", "gpu"), ("tensorrt_rtx", "rtx")])
def test_an_absent_runtime_names_its_extra(
    runtime: str, extra: str, onnx_files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, runtime, None)
    target = runtime if runtime == "tensorrt" else "tensorrt_rtx:sm_86"
    with pytest.raises(MissingPackageError, match=rf"needs it: install it with `pip install 'secateur\[{extra}\]'`"):
        build_engine(onnx_files["fp32"], target, tmp_path / "engines")
    assert not (tmp_path / "engines").exists()


@pytest.mark.parametrize(
    ("version", "fits"), [("10.2.9", False), ("10.3.0", True), ("10.13.3.9", True), ("11.0", True)]
)
def test_versions(version: str, fits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    module = make_module(version=version)
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    if fits:
        assert import_runtime("tensorrt") is module
    else:
        with pytest.raises(EngineError, match=r"TensorRT 10.2.9 is installed, but 10.3 or newer is needed"):
            import_runtime("tensorrt")


@pytest.mark.parametrize(
    ("message", "clean"),
    [
        (
            "IBuilder::buildSerializedNetwork: Error Code 1: Myelin ([pass.cpp:337: check_turing_op_compatibility] "
            "Cannot compile operation 'node_MatMul_12' for Turing (SM75): FP32 GEMM is not supported. In compileGraph "
            "at /_src/optimizer/myelin/codeGenerator.cpp:2012)",
            "Cannot compile operation 'node_MatMul_12' for Turing (SM75): FP32 GEMM is not supported",
        ),
        (
            "IRuntime::deserializeCudaEngine: Error Code 1: Cuda Runtime (In ScopedCudaStream at "
            "/_src/common/dispatch/cudaResources.cpp:25 (cudaError 35: CUDA driver version is insufficient))",
            "Cuda Runtime (cudaError 35: CUDA driver version is insufficient)",
        ),
        ("plain words", "plain words"),
        ("...", "..."),
    ],
)
def test_messages_lose_their_call_sites(message: str, clean: str) -> None:
    assert clean_message(message) == clean


def test_the_logger_keeps_errors_once() -> None:
    module = make_module()
    logger = make_logger(module)
    assert logger.sentences() == "the runtime gives no reason"
    for severity, text in (("warning", "w"), ("error", "a"), ("internal error", "b"), ("error", "a")):
        logger.log(severity, text)
    assert logger.sentences() == "a; b"


def test_types_that_numpy_lacks() -> None:
    module = make_module()
    assert numpy_name(module, DataType.FLOAT) == "float32"
    assert numpy_name(module, DataType.BF16) == "bfloat16"
