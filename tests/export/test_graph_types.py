"""Declared precisions, read from graphs that are built by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from secateur.core.errors import ExportError
from secateur.export.graph_types import (
    bit_ops,
    declared_precisions,
    external_files,
    first_line,
    graph_precision,
    graph_tensors,
    read_graph,
)


def _graph(nodes: list[onnx.NodeProto], weights: list[onnx.TensorProto]) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def _weight(name: str, dtype: type) -> onnx.TensorProto:
    return numpy_helper.from_array(np.ones((4, 4)).astype(dtype), name)


def test_types_of_products_and_tensors() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        helper.make_node("MatMul", ["h", "a"], ["p"], name="half"),
        helper.make_node("Cast", ["p"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Gemm", ["f", "b"], ["y"], name="single"),
    ]
    model = _graph(nodes, [_weight("a", np.float16), _weight("b", np.float32)])
    declared = declared_precisions(model)
    assert declared == {"half": "fp16", "single": "fp32"}
    assert graph_precision(declared) == "fp16"
    inputs, outputs = graph_tensors(model)
    assert [str(tensor) for tensor in (*inputs, *outputs)] == ["x float32 [batch, 4]", "y float32 [batch, 4]"]


def test_products_of_dequantised_tensors_are_eight_bit() -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["v"]),
        helper.make_node("MatMul", ["d", "v"], ["m"], name="quantised"),
        helper.make_node("MatMul", ["m", "v"], ["y"], name="mixed"),
    ]
    scale = numpy_helper.from_array(np.float32(0.1), "s")
    zero = numpy_helper.from_array(np.int8(0), "z")
    declared = declared_precisions(_graph(nodes, [scale, zero, _weight("w", np.int8)]))
    assert declared == {"quantised": "int8", "mixed": "fp32"}
    assert graph_precision(declared) == "int8"


def test_a_graph_without_products_is_fp32() -> None:
    assert graph_precision(declared_precisions(_graph([helper.make_node("Relu", ["x"], ["y"])], []))) == "fp32"


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_exported_graphs_declare_one_precision(onnx_files: dict[str, Path], precision: str) -> None:
    declared = declared_precisions(read_graph(onnx_files[precision]))
    assert set(declared.values()) == {precision}
    assert len(declared) == 14  # patch embedding, 2 x (qkv, q k, attention v, projection, 2 of the MLP), head


def test_weights_elsewhere_are_refused() -> None:
    tensor = _weight("w", np.float32)
    for name in ("../secrets", "/etc/passwd"):
        tensor.data_location = TensorProto.EXTERNAL
        del tensor.external_data[:]
        tensor.external_data.add(key="location", value=name)
        with pytest.raises(ExportError, match="must lie beside it"):
            external_files(_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], [tensor]))


def test_the_first_line_of_an_error_is_one_that_can_be_read() -> None:
    assert first_line(ValueError("\n  no such size.\nAt a place")) == "no such size"
    assert first_line(ValueError()) == "ValueError"
    long = first_line(ValueError("4*Min(300, u0) + " * 400))
    assert long.endswith("...") and 200 < len(long) < 300


def test_int8_costs_a_sixteenth_of_fp32() -> None:
    assert bit_ops(3, "int8") == bit_ops(3, "fp8") == 3 * 64
    assert bit_ops(3, "fp32") == 16 * bit_ops(3, "int8") == pytest.approx(4 * bit_ops(3, "fp16"))
