"""Placement: products and their operands, nothing else, and a reason for every product that stays."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

from secateur.core.errors import ExportError
from secateur.export.quantize.graph_edit import read_program
from secateur.export.quantize.placement import ENDS, NARROWEST, Placement, place
from secateur.export.to_onnx import export_onnx


def makers(program: ir.Model, placement: Placement) -> set[str]:
    """The operations that make the quantised activations."""
    values = {value.name: node.op_type for node in program.graph for value in node.outputs}
    return {values.get(name, "input") for name in placement.activations}


def test_both_products_of_attention_and_all_linears_but_the_ends(fp32: Path) -> None:
    program = read_program(fp32)
    placement = place(program)
    modules = {node.name: node.metadata_props.get("module", "") for node in program.graph}
    weighted = [modules[product.node] for product in placement.products if product.weight]
    assert weighted == [
        f"blocks.{block}.{name}" for block in range(2) for name in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    ]
    assert sum(not product.weight for product in placement.products) == 4
    assert all(product.axis == 1 for product in placement.products if product.weight)
    assert len(placement.fixed) == 2
    assert placement.skips == {}
    kept = {modules[name]: reason for name, reason in placement.kept.items()}
    assert kept == {
        "patch_embed.proj": ENDS,
        "head": f"it sums over 64 values and gives 10, but 8 bits pay from {NARROWEST} on",
    }


def test_scales_and_transpositions_come_before_the_pair(fp32: Path) -> None:
    program = read_program(fp32)
    assert makers(program, place(program)) == {
        "LayerNormalization",
        "Mul",
        "Softmax",
        "Squeeze",
        "Reshape",
        "Gelu",
    }  # what goes into qkv and fc1, q and k, the second product with v, proj, and fc2


def test_globs_keep_what_they_name(fp32: Path) -> None:
    placement = place(read_program(fp32), ("blocks.0.*",))
    assert len(placement.products) == 6
    assert sum("'blocks.0.*'" in reason for reason in placement.kept.values()) == 6
    with pytest.raises(ExportError, match=r"keep has 'blocks.9.\*', which no product of the graph .* correct it"):
        place(read_program(fp32), ("blocks.9.*",))
    with pytest.raises(ExportError, match="no product of the graph can run in 8 bits"):
        place(read_program(fp32), ("*",))


class Residual(nn.Module):
    """A residual block with a depthwise, a narrow and a transposed convolution behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.first, self.second = (nn.Conv2d(c, 16, 3, padding=1) for c in (3, 16, 16))
        self.depthwise, self.narrow = nn.Conv2d(16, 16, 3, groups=16), nn.Conv2d(16, 8, 1)
        self.up, self.head = nn.ConvTranspose2d(8, 16, 2, 2), nn.Linear(16, 20)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        x = (x + self.second(self.first(x).relu())).relu()
        return self.head(self.up(self.narrow(self.depthwise(x))).mean((2, 3)))


def test_convolutions(tmp_path: Path) -> None:
    torch.manual_seed(0)
    program = read_program(export_onnx(Residual(), tmp_path / "model.onnx", input_shape=(3, 8, 8)).path)
    placement = place(program)
    modules = {node.name: node.metadata_props.get("module", "") for node in program.graph}
    assert [modules[product.node] for product in placement.products] == ["first", "second", "depthwise"]
    assert all(product.axis == 0 for product in placement.products)
    ((_, skip),) = placement.skips.items()
    assert skip == placement.products[0].activations[0]  # one scale for the block's input and its skip
    kept = {modules[name]: reason for name, reason in placement.kept.items()}
    assert set(kept) == {"stem", "narrow", "up", "head"}
    assert "gives 8" in kept["narrow"]
    assert "ConvTranspose" in kept["up"]
    first, second = (product.node for product in placement.products[:2])
    rest = placement.without(program, {second: "a reason"})
    assert ([product.node for product in rest.products], rest.skips) == ([first, placement.products[2].node], {})
    assert rest.kept == {**placement.kept, second: "a reason"}
    assert placement.without(program, {first: "a reason"}).skips == placement.skips
    every = place(program, ends=True)
    assert [modules[product.node] for product in every.products] == ["stem", "first", "second", "depthwise", "head"]
    assert every.products[-1].axis == 0  # the exporter writes Gemm with a transposed weight


def test_convolutions_without_kernels_in_fp8_stay(tmp_path: Path) -> None:
    model = Residual()
    model.first = nn.Conv2d(16, 16, 7, padding=3)
    program = read_program(export_onnx(model, tmp_path / "model.onnx", input_shape=(3, 8, 8)).path)
    modules = {node.name: node.metadata_props.get("module", "") for node in program.graph}
    placement = place(program, precision="fp8")
    assert [modules[product.node] for product in placement.products] == ["second"]
    kept = {modules[name]: reason for name, reason in placement.kept.items()}
    assert kept["depthwise"] == "it has 16 groups, for which TensorRT has no kernels in fp8"
    assert kept["first"] == "it has kernels of 49 places, for which TensorRT has no kernels in fp8"
    assert len(place(program).products) == 3


def test_what_convolutions_give_has_8_bits_for_onnx_runtime(tmp_path: Path) -> None:
    program = read_program(export_onnx(Residual(), tmp_path / "model.onnx", input_shape=(3, 8, 8)).path)
    makers = {str(value.name): node for node in program.graph for value in node.outputs}
    placement = place(program, runtime="onnxruntime")
    nodes = [makers[name] for name in placement.outputs]
    assert [node.op_type for node in nodes] == ["Relu", "Conv", "Relu", "Conv"]  # first, second, their sum, depthwise
    sums = nodes[2].inputs[0].producer()  # type: ignore[union-attr]  # what the ReLU reads
    assert sums is not None and sums.op_type == "Add"
    assert set(placement.outputs) <= set(placement.activations)
    second = placement.products[1].node
    assert len(placement.without(program, {second: "a reason"}).outputs) == 2  # neither what it gives, nor the sum
    assert place(program).outputs == place(program, precision="fp8", runtime="onnxruntime").outputs == ()


def test_a_graph_that_is_quantised_already(int8: tuple[object, object]) -> None:
    with pytest.raises(ExportError, match="the graph is quantised already: give the fp32 graph"):
        place(read_program(int8[0].path))  # type: ignore[attr-defined]  # an OnnxInfo
