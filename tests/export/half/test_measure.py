"""Planted overflows: found on images, kept in float32 with the reason, and then the graph is right."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as passes
import pytest
import timm
import torch
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

from secateur.core.errors import ExportError
from secateur.export.graph_file import write_graph
from secateur.export.half.measure import float32_nodes, overflowing_nodes
from secateur.export.half.narrow import narrow
from secateur.export.parity import check_parity
from secateur.export.quantize.graph_edit import read_program
from secateur.export.quantize.quantize import quantize_onnx
from secateur.export.to_onnx import export_onnx
from tests.export.conftest import SHAPE, needs_ort

pytestmark = needs_ort
HEADER = '<ir_version: 10, opset_import: ["" : 20]> g (float[n, 64] x) => (float[n, 64] y) '
WEIGHTS = "float eps = {1e-9}, float large = {3e4}, float small = {1e-6}"
CASES = {
    "squares": (
        500.0,
        "s = Mul(x, x)  m = ReduceMean <keepdims = 1> (s)  r = Sqrt(m)  y = Div(x, r)",
        {"s": "it sums squares, and fp16 ends at 65504", "m": "it sums squares"},
    ),
    "epsilon": (
        0.0,
        "s = Mul(x, x)  m = ReduceMean <keepdims = 1> (s)  v = Add(m, eps)  r = Sqrt(v)  y = Div(x, r)",
        {"v": "its constant eps is 1e-09, below 6.1e-05", "r": "it takes the root of", "y": "it takes the root of"},
    ),
    "logits": (
        3.0,
        "l = Mul(x, large)  y = Softmax <axis = -1> (l)",
        {"l": r"its output reaches \S+, and fp16 ends at 65504", "y": r"it reads l, which reaches \S+, and"},
    ),
    "a view between": (
        3.0,
        "l = Mul(x, large)  i = Identity(l)  y = Softmax <axis = -1> (i)",
        {"l": "its output reaches", "i": "it reads l, which", "y": "it reads i, which"},
    ),
    "a partial sum": (
        3.0,
        "l = Mul(x, large)  t = Tanh(l)  h = Mul(t, large)  m = ReduceSum <keepdims = 1> (h)  k = Div(m, large)  "
        "y = Sub(t, k)",
        {"m": r"its output|the magnitudes that it adds come to \S+, and fp16 ends at 65504"},
    ),
    "a divisor": (
        2e-7,
        "a = Abs(x)  m = ReduceMax <keepdims = 1> (a)  y = Div(x, m)",
        {"a": r"its output is \S+ at most, below 6.1e-05", "y": "it reads|it divides by"},
    ),
}


def graph(text: str) -> ir.Model:
    """A program from its text; its nodes are named as what they give."""
    program = ir.from_onnx_text(f"{HEADER} <{WEIGHTS}> {{ {text} }}")
    passes.ShapeInferencePass()(program)
    for node in program.graph:
        node.name = node.outputs[0].name
    return program


def run(program: ir.Model, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """By NumPy, in the types of the graph: ONNX Runtime computes some of it wider."""
    with np.errstate(all="ignore"):
        return np.asarray(ReferenceEvaluator(ir.to_proto(program)).run(None, {"x": x})[0])


@pytest.mark.parametrize("case", CASES)
def test_what_fp16_does_not_hold_is_kept_with_the_reason_and_then_right(case: str) -> None:
    scale, text, reasons = CASES[case]
    x = np.float32(scale) * np.random.default_rng(0).standard_normal((4, 64)).astype(np.float32)
    right, wrong = graph(text), graph(text)
    wanted = run(right, x)
    kept = float32_nodes(right, "fp16", [{"x": x[:2]}, {"x": x[2:]}])
    narrow(right, "fp16", kept)
    narrow(wrong, "fp16", {})
    for name, words in reasons.items():
        assert re.search(words, kept[name])
    np.testing.assert_allclose(run(right, x), wanted, atol=2e-3)
    assert not np.allclose(run(wrong, x), wanted, atol=2e-2)


def test_sums_of_magnitudes_count_not_what_they_come_to() -> None:
    """Terms of either sign that cancel: a sum in fp16 may overflow before they do."""
    program = graph("n = Neg(x)  c = Concat <axis = 1> (x, n)  m = ReduceSum <keepdims = 1> (c)  y = Add(x, m)")
    x = np.full((2, 64), 1e3, np.float32)
    assert overflowing_nodes(program, [{"x": x}]) == {
        "m": "the magnitudes that it adds come to 2.56e+05, and fp16 ends at 65504"
    }
    assert overflowing_nodes(program, [{"x": x / 4}]) == {}


@pytest.fixture(scope="module")
def massive() -> nn.Module:
    """A DINO-like ViT: one channel of the residual stream reaches 3e5 from its first block to its second."""
    torch.manual_seed(0)
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=16, embed_dim=32, depth=2, num_heads=2, num_classes=5
    ).eval()
    with torch.no_grad():
        nn.init.normal_(model.head.weight, std=0.3)
        model.blocks[0].mlp.fc2.bias[5] = 3e5
        model.blocks[1].mlp.fc2.bias[5] = -3e5
    return model


@pytest.fixture(scope="module")
def massive_onnx(massive: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_onnx(massive, tmp_path_factory.mktemp("massive") / "fp32.onnx", input_shape=SHAPE).path


@pytest.fixture(scope="module")
def pictures() -> list[tuple[Tensor, None]]:
    return [(torch.randn(8, *SHAPE, generator=torch.Generator().manual_seed(3)), None)]


def test_massive_activations(
    massive: nn.Module, massive_onnx: Path, pictures: list[tuple[Tensor, None]], tmp_path: Path
) -> None:
    info = export_onnx(massive, tmp_path / "fp16.onnx", input_shape=SHAPE, precision="fp16", calibration=pictures)
    assert (info.precision, info.images) == ("fp16", 8)
    assert any(why.startswith("its constant blocks.0.mlp.fc2.bias holds 3e+05") for why in info.kept.values())
    assert any(why.startswith("it reads add_95, which reaches 3e+05") for why in info.kept.values()), info.kept
    assert len(info.kept) < info.nodes / 4
    assert check_parity(massive, info.path, images=pictures).worst.relative < 1e-2
    wrong = read_program(massive_onnx)
    narrow(wrong, "fp16", {})
    write_graph(wrong, tmp_path / "wrong.onnx")
    nodes = [node for node in wrong.graph if node.metadata_props.get("module") == "blocks.0.mlp.fc2"]
    first = next(node for node in nodes if node.op_type == "Add")  # its bias overflows
    words = (
        rf"wrong.onnx differs .*first product that differs is {first.outputs[0].name} \(cosine 0.0000, 1.0000 before"
    )
    with pytest.raises(ExportError, match=words):
        check_parity(massive, tmp_path / "wrong.onnx", images=pictures, reference=massive_onnx)


def test_a_graph_in_eight_bits_keeps_them_too(
    massive: nn.Module, massive_onnx: Path, pictures: list[tuple[Tensor, None]], tmp_path: Path
) -> None:
    info, how = quantize_onnx(massive_onnx, tmp_path / "model.int8.onnx", pictures)
    assert how.products > 0
    assert any("reaches 3e+05" in why for why in info.kept.values())
    check_parity(massive, info.path, images=pictures)


@pytest.mark.nightly
def test_a_model_of_usual_values_keeps_none_in_either_type(
    onnx_files: dict[str, Path], pictures: list[tuple[Tensor, None]]
) -> None:
    program = read_program(onnx_files["fp32"])
    feeds = [{"input": batch.numpy()} for batch, _ in pictures]
    assert float32_nodes(program, "fp16", feeds) == float32_nodes(program, "bf16", feeds) == {}
    assert overflowing_nodes(program, []) == {}
