"""ONNX Runtime as an engine: what runs is what was asked for."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import nn

from secateur.core.errors import EngineError, ExportError, MissingPackageError, UnsupportedError
from secateur.export.engine_info import Layer
from secateur.export.ort_engine import (
    INTEGER_PRODUCTS,
    PRODUCTS,
    OrtEngine,
    check_fp8,
    check_session,
    open_session,
    session_layers,
    widening,
)
from secateur.export.quantize.quantize import quantize_onnx
from secateur.export.quantize.spec import Quantization
from secateur.export.to_onnx import export_onnx
from tests.export.conftest import SHAPE, needs_ort

pytestmark = needs_ort


def test_outputs_are_those_of_pytorch(transformer: nn.Module, onnx_files: dict[str, Path]) -> None:
    images = torch.randn(5, *SHAPE)
    with OrtEngine(onnx_files["fp32"], "cpu", threads=1) as engine, torch.no_grad():
        logits = engine.infer({"input": images.numpy()})["logits"]
        engine.prepare({"input": images.numpy()})()
        np.testing.assert_allclose(logits, transformer(images).numpy(), rtol=1e-4, atol=1e-5)
    with pytest.raises(EngineError, match="closed"):
        engine.infer({"input": images.numpy()})


def test_a_provider_that_is_not_here_is_an_error(onnx_files: dict[str, Path]) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has the CUDA provider")
    with pytest.raises(EngineError, match=r"has no CUDAExecutionProvider, only .*CPUExecutionProvider"):
        OrtEngine(onnx_files["fp32"], "cuda")


def test_a_silent_fallback_is_an_error(onnx_files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda path, options, providers: real(path, options, ["CPUExecutionProvider"])
    )
    with pytest.raises(EngineError, match="asked for CUDAExecutionProvider but would silently run on CPUExecution"):
        open_session(onnx_files["fp32"], "cuda")


def test_absent_or_damaged(onnx_files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no graph")
    with pytest.raises(ExportError, match=r"bad.onnx is not a readable ONNX model"):
        OrtEngine(tmp_path / "bad.onnx", "cpu")
    onnx.save(helper.make_model(helper.make_graph([helper.make_node("None", [], [])], "", [], [])), tmp_path / "x.onnx")
    with pytest.raises(EngineError, match=r"cannot load .*x.onnx on cpu"):
        OrtEngine(tmp_path / "x.onnx", "cpu")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for device, extra in (("cpu", "cpu"), ("cuda", "gpu")):
        with pytest.raises(MissingPackageError, match=rf"secateur\[{extra}\]"):
            OrtEngine(onnx_files["fp32"], device)


def test_layers_are_those_after_fusion(onnx_files: dict[str, Path]) -> None:
    layers = session_layers(onnx_files["fp32"], "cpu")
    assert {layer.precision for layer in layers} == {"fp32"}
    products = [layer for layer in layers if layer.kind in PRODUCTS]
    assert len(products) == 14
    assert "LayerNormalization" in {layer.kind for layer in layers}


def test_a_wider_precision_than_declared_is_an_error() -> None:
    half, single = Layer("a", "MatMul", "fp16"), Layer("b", "Gemm", "fp32")
    check_session((half, single), {"a": "fp16", "b": "fp32"}, "cpu")
    check_session((single,), {"b": "fp32"}, "cpu")
    with pytest.raises(EngineError, match="typed in fp16, but ONNX Runtime on cpu runs its products in fp32"):
        check_session((single, Layer("c", "Cast", "fp16")), {"a": "fp16"}, "cpu")
    with pytest.raises(EngineError, match="in no product at all"):
        check_session((), {"a": "bf16"}, "cpu")


def test_what_is_to_be_known_of_the_times_of_a_typed_graph(onnx_files: dict[str, Path]) -> None:
    assert widening(onnx_files["fp32"], "cpu") == ""
    kinds = {layer.precision for layer in session_layers(onnx_files["fp16"], "cpu") if layer.kind in PRODUCTS}
    said = widening(onnx_files["fp16"], "cpu")
    assert ("runs its products in fp32: these are not the times of fp16 arithmetic" in said) == ("fp16" not in kinds)


def test_products_of_integers_are_told_from_those_that_only_have_pairs() -> None:
    pair = (Layer("q", "QuantizeLinear", "int8"), Layer("d", "DequantizeLinear", "fp32"))
    check_session((*pair, Layer("a", "MatMulIntegerToFloat", "int8")), {"a": "int8"}, "cpu")
    words = "typed in int8, but ONNX Runtime on cpu runs its products in fp32"
    with pytest.raises(UnsupportedError, match=words):
        check_session((*pair, Layer("a", "FusedConv", "fp32")), {"a": "int8"}, "cpu")
    with pytest.raises(
        UnsupportedError, match=r"use the fp32 graph for this target, or set export\.quantize\.rest to fp32"
    ):
        check_session((*pair, Layer("a", "FusedConv", "fp32")), {"a": "int8", "b": "fp16"}, "cpu")
    check_fp8({"a": "fp8"}, "cuda")
    with pytest.raises(UnsupportedError, match="on cpu has no fp8 kernels: use the fp32 graph"):
        check_fp8({"a": "fp8", "b": "fp32"}, "cpu")


def test_products_that_run_wider_than_int8_are_counted(tmp_path: Path) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(16, 16, 3), nn.Linear(16, 16)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.conv(x).sigmoid().flatten(2).transpose(1, 2)).mean(1)

    source = export_onnx(Two().eval(), tmp_path / "model.onnx", input_shape=(16, 5, 5)).path
    images = [(torch.randn(8, 16, 5, 5), None)]
    info, _ = quantize_onnx(
        source, tmp_path / "int8.onnx", images, options=Quantization("minmax", ends=True, rest="fp32")
    )
    assert [layer.precision for layer in session_layers(info.path, "cpu") if layer.kind in INTEGER_PRODUCTS]
    assert "runs 1 of the 2 int8 products of this graph in fp32 (node_conv2d): " in widening(info.path, "cpu")


def test_a_type_without_kernels_is_no_damage(onnx_files: dict[str, Path]) -> None:
    try:
        OrtEngine(onnx_files["bf16"], "cpu").close()
    except UnsupportedError as error:
        assert "NOT_IMPLEMENTED" in str(error)
