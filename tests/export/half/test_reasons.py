"""Nodes that a graph itself shows to be too much for fp16, and those that are not."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import onnx_ir.passes.common as passes
import pytest

from secateur.export.half.reasons import fragile_nodes
from secateur.export.quantize.graph_edit import read_program

HEADER = '<ir_version: 10, opset_import: ["" : 20]> g (float[n, 4] x) => (float[n, 4] y) '
NORM = "s = Mul(x, x)  m = ReduceMean <keepdims = 1> (s)  e = Add(m, eps)  "


def fragile(text: str, weights: str = "float[1] eps = {1e-12}") -> dict[str, str]:
    """The reasons by the names of the nodes' outputs."""
    program = ir.from_onnx_text(f"{HEADER} <{weights}> {{ {text} }}")
    passes.ShapeInferencePass()(program)
    for node in program.graph:
        node.name = node.outputs[0].name
    return fragile_nodes(program)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (NORM + "r = Sqrt(e)  q = Div(x, r)  y = Relu(q)", "smerq"),
        (NORM + "r = Sqrt(e)  i = Reciprocal(r)  q = Mul(x, i)  y = Relu(q)", "smeriq"),
        (NORM + "i = Pow(e, minus)  q = Mul(i, x)  y = Relu(q)", "smeiq"),
        ("l = ReduceL2 <keepdims = 1> (x)  c = Clip(l, low)  w = Expand(c, four)  q = Div(x, w)  y = Relu(q)", "lcwq"),
        ("m = ReduceMean <keepdims = 1> (x)  y = Sub(x, m)", ""),
        ("y = Add(x, eps)", ""),
        ("m = Mul(x, half)  y = Sqrt(m)", ""),
    ],
)
def test_what_keeps_a_divisor_from_zero_is_kept_up_to_the_quotient(text: str, kept: str) -> None:
    tiny, others = "float[1] eps = {1e-12}, float low = {1e-12}", "float minus = {-0.5}, float half = {0.5}"
    weights = f"{tiny}, {others}, int64[2] four = {{1, 4}}"
    found = fragile(text, weights)
    assert sorted(found) == sorted(kept)
    if "e" in found:
        assert found["e"] == "its constant eps is 1e-12, below 6.1e-05, fp16's smallest normal number"
        assert found["s"] == found["m"] == "it sums squares, and fp16 ends at 65504"


@pytest.mark.parametrize(
    ("weight", "reason"),
    [
        ("7e4", "its constant w holds 7e+04, and fp16 ends at 65504"),
        ("1e-6", "its constant w is 1e-06, below 6.1e-05, fp16's smallest normal number"),
        ("0", ""),
        ("-1e-6", "its constant w is 1e-06, below 6.1e-05, fp16's smallest normal number"),
        ("1e-4", ""),
        ("-3.4028234663852886e38", ""),  # it stands for minus infinity
    ],
)
def test_constants_that_fp16_does_not_hold(weight: str, reason: str) -> None:
    assert fragile("y = Mul(x, w)", f"float[1] w = {{{weight}}}").get("y", "") == reason


def test_a_scatter_that_adds() -> None:
    nodes = "y = ScatterElements <axis = 1, reduction = {}> (x, place, x)"
    found = [fragile(nodes.format(f'"{word}"'), "int64[1, 4] place = {0, 1, 2, 3}") for word in ("none", "add")]
    assert [list(one) for one in found] == [[], ["y"]]


def test_a_plain_transformer_has_none(onnx_files: dict[str, Path]) -> None:
    assert fragile_nodes(read_program(onnx_files["fp32"])) == {}
