"""Graphs in 16 bits: types meet in casts, names and the types of inputs and outputs stay, and scales follow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnx_ir.passes.common as passes
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.export.graph_types import element_types, graph_tensors
from secateur.export.half.narrow import Half, narrow, rounded
from secateur.export.parity import check_parity
from secateur.export.quantize.formats import FORMATS
from secateur.export.quantize.graph_edit import read_program
from secateur.export.quantize.insert import insert
from secateur.export.quantize.placement import place
from secateur.export.to_onnx import export_onnx
from tests.export.conftest import needs_ort

FP16, FP32 = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
HEADER = '<ir_version: 10, opset_import: ["" : 20]> '


def narrowed(text: str, precision: Half = "fp16", keep: tuple[str, ...] = ()) -> tuple[onnx.ModelProto, dict[str, str]]:
    """A checked graph from its text, in 16 bits; its nodes are named as their first outputs."""
    program = ir.from_onnx_text(HEADER + text)
    passes.ShapeInferencePass()(program)
    for node in program.graph:
        node.name = node.outputs[0].name
    kept = narrow(program, precision, dict.fromkeys(keep, "a reason"))
    model = ir.to_proto(program)
    onnx.checker.check_model(model, full_check=True)
    return model, kept


def test_values_keep_their_names_and_the_graph_its_inputs_and_outputs() -> None:
    text = "g (float[n, 3] x) => (float[n, 2] y) <float[3, 2] w = {1, 2, 3, 4, 5, 6}> { a = MatMul(x, w)  y = Relu(a) }"
    model, kept = narrowed(text)
    types = element_types(model)
    assert ({word: types[word] for word in "xway"}, kept) == ({"x": FP32, "w": FP16, "a": FP16, "y": FP32}, {})
    assert [list(map(str, side)) for side in graph_tensors(model)] == [
        ["x float32 [batch, 3]"],
        ["y float32 [batch, 2]"],
    ]
    assert [node.op_type for node in model.graph.node] == ["Cast", "MatMul", "Relu", "Cast"]


def test_a_clone_that_is_narrowed_leaves_the_program_as_it_was() -> None:
    program = ir.from_onnx_text(HEADER + "g (float[n, 3] x) => (float[n, 3] y) { a = Neg(x)  y = Relu(a) }")
    passes.ShapeInferencePass()(program)
    before = ir.to_proto(program)
    narrow(program.clone(), "fp16", {})
    assert ir.to_proto(program) == before


def test_a_kept_node_computes_in_float32_between_casts_and_shares_its_weight() -> None:
    weight = "<float[2] w = {1e-7, 2}>"
    text = f"g (float[n, 2] x) => (float[n, 2] y) {weight} {{ a = Add(x, w)  b = Mul(a, w)  y = Add(b, w) }}"
    model, kept = narrowed(text, keep=("b",))
    types = element_types(model)
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    product = next(node for node in model.graph.node if node.op_type == "Mul")
    assert kept == {"b": "a reason"}
    assert {types[name] for name in (*product.input, *product.output)} == {FP32}
    assert [types[node.input[1]] for node in model.graph.node if node.op_type == "Add"] == [FP16, FP16]
    assert sorted(array.dtype.name for array in weights.values()) == ["float16", "float32"]
    assert weights[product.input[1]][0] == np.float32(1e-7)


def test_what_an_operation_has_in_float32_stays_so() -> None:
    text = (
        "g (float[n, 1, 4, 4] x) => (float[n, 1, 8, 8] y) <float[4] scales = {1, 1, 2, 2}> { y = Resize(x, , scales) }"
    )
    model, kept = narrowed(text)
    assert (element_types(model)["scales"], kept) == (FP32, {})
    model, kept = narrowed("g (float[n, 2, 4] x) => (float[n, 2, 4] y) { k = Shape(x)  f = Cast <to = 1> (k) "
                           "s = ReduceSum <keepdims = 0> (f)  y = Mul(x, s) }")  # fmt: skip
    assert element_types(model)["f"] == FP16


def test_an_operation_without_the_type_stays_and_says_so() -> None:
    text = (
        "g (float[n, 1, 4, 4] x) => (float[n, 1, 4, 4] y) <float[1, 1, 1, 1] w = {1}> { a = Conv(x, w)  y = Relu(a) }"
    )
    model, kept = narrowed(text, "bf16")
    assert kept == {"a": "ONNX has no Conv in bf16 at opset 20"}
    assert element_types(model)["a"] == FP32
    assert narrowed(text)[1] == {}


def test_a_branch_reads_in_float32_what_it_takes_from_outside() -> None:
    text = (
        "g (float[n, 2] x, bool c) => (float[n, 2] y) { a = Relu(x)  y = If (c) "
        "<then_branch = t () => (float[n, 2] r) { r = Neg(a) }, else_branch = e () => (float[n, 2] s) { s = Abs(a) }> }"
    )
    model, _ = narrowed(text)
    assert element_types(model)["a"] == FP16
    assert element_types(model)["y"] == FP32


def test_limits_of_float32_become_those_of_the_type() -> None:
    most = float(np.finfo(np.float32).max)
    assert rounded(np.array([most, -most, -np.inf, 0.1], np.float32), "fp16").tolist() == [
        65504, -65504, -np.inf, np.float16(0.1)
    ]  # fmt: skip
    assert np.isfinite(rounded(np.array([-most]), "bf16").astype(np.float32)).all()


@pytest.mark.parametrize("keep", [(), ("b",), ("a", "b")])
def test_scales_of_pairs_have_the_type_of_what_they_scale(keep: tuple[str, ...]) -> None:
    """No cast stands between a DequantizeLinear and its product: TensorRT would run that wider."""
    weights = " ".join(f"float[16, 16] {name} = {{{', '.join(['0.5'] * 256)}}}," for name in "vw").rstrip(",")
    nodes = "{ r = Relu(x)  a = MatMul(r, v)  b = MatMul(r, w)  y = Add(a, b) }"
    text = f"g (float[n, 16] x) => (float[n, 16] y) <{weights}> {nodes}"
    program = ir.from_onnx_text(HEADER + text)
    passes.ShapeInferencePass()(program)
    for node in program.graph:
        node.name = node.outputs[0].name
    insert(program, place(program, ends=True), {"r": 3.0}, FORMATS["int8"])
    narrow(program, "fp16", dict.fromkeys(keep, "a reason"))
    model = ir.to_proto(program)
    onnx.checker.check_model(model, full_check=True)
    types, makers = element_types(model), {node.output[0]: node for node in model.graph.node}
    for node in model.graph.node:
        if node.op_type == "MatMul":
            wanted = FP32 if node.name in keep else FP16
            sources = [makers[name] for name in node.input]
            assert [source.op_type for source in sources] == ["DequantizeLinear"] * 2
            assert {types[source.input[1]] for source in sources} == {wanted}
        if node.op_type == "QuantizeLinear":
            assert types[node.input[0]] == types[node.input[1]] == FP16


class Warp(nn.Module):
    """Makes tensors of its own in its forward: a grid to sample by, a table that is added, and rows to add to."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        grid = F.affine_grid(torch.eye(2, 3).expand(x.shape[0], 2, 3), list(x.shape), align_corners=False)
        x = self.conv(F.grid_sample(x, grid, align_corners=False)).mean((2, 3))
        out: Tensor = self.head(x + torch.linspace(0, 1, 8)).index_add(1, torch.tensor([0]), torch.ones(x.shape[0], 1))
        return out @ torch.eye(4)


@needs_ort
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_tensors_that_a_forward_makes_take_the_type_of_the_graph(precision: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Warp().eval()
    info = export_onnx(model, tmp_path / "warp.onnx", input_shape=(3, 12, 12), precision=precision)
    assert info.precision == precision
    assert "the places that it reads at need more digits than 16 bits have" in info.kept.values()
    assert check_parity(model, info.path).worst.relative < (2e-3 if precision == "fp16" else 2e-2)


def test_the_graph_is_read_as_it_was_written(onnx_files: dict[str, Path]) -> None:
    names = [{node.outputs[0].name for node in read_program(onnx_files[word]).graph} for word in ("fp32", "fp16")]
    assert names[0] <= names[1] | {"logits"}
