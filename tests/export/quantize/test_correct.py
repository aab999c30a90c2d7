"""Bias correction: after it, rounded weights give on average what the true ones did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from secateur.export.quantize.correct import correct, mean_input
from secateur.export.quantize.formats import FORMATS, Format
from secateur.export.quantize.graph_edit import array_of, read_program, replace_weight
from secateur.export.quantize.insert import rounded_weight
from secateur.export.quantize.observe import observed
from secateur.export.quantize.placement import place
from secateur.export.to_onnx import export_onnx
from tests.export.conftest import needs_ort

COARSE = Format("int8", 3.0)
"""Seven numbers alone, so that rounding shifts much."""


class Net(nn.Module):
    """A strided convolution with padding, a depthwise one without bias, and two linears."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 32, 3, stride=2, padding=1, bias=bias)
        self.depthwise = nn.Conv2d(32, 32, 3, padding=1, groups=32, bias=False)
        self.first, self.second = nn.Linear(32, 24, bias=bias), nn.Linear(24, 20)

    def forward(self, x: Tensor) -> Tensor:
        x = self.depthwise(self.conv(x).relu()).relu()
        return self.second(self.first(x.flatten(2).transpose(1, 2)).relu().mean(1))


@needs_ort
@pytest.mark.parametrize("bias", [True, False])
def test_means_come_back(tmp_path: Path, bias: bool) -> None:
    torch.manual_seed(0)
    program = read_program(export_onnx(Net(bias), tmp_path / "model.onnx", input_shape=(3, 8, 8)).path)
    placement = place(program, ends=True)
    nodes = {str(node.name): node for node in program.graph}
    feeds = [{"input": 1 + torch.rand(16, 3, 8, 8).numpy()}]
    for product in placement.products:  # one at a time: its input is then that of the true graph
        alone = read_program(tmp_path / "model.onnx")
        only = type(placement)((product,), {}, {}, {})
        node = {str(one.name): one for one in alone.graph}[product.node]
        name = str(node.outputs[0].name)
        behind = node.outputs[0].uses()[0][0] if node.outputs[0].uses() else None
        if behind is not None and behind.op_type == "Add":
            name = str(behind.outputs[0].name)
        true = next(observed(alone, [name, product.activations[0]], feeds))
        means = {product.activations[0]: mean_input(nodes[product.node].op_type, true[product.activations[0]])}
        done = correct(alone, only, means, COARSE)
        assert (product.node in done) == (bias or node.op_type != "MatMul")
        weight = array_of(node.inputs[1])
        replace_weight(node, 1, rounded_weight(product, weight, COARSE), "rounded")
        corrected = next(observed(alone, [name], feeds))[name]
        axes = (0, 2, 3) if node.op_type == "Conv" else tuple(range(true[name].ndim - 1))
        error = np.abs(corrected.mean(axes) - true[name].mean(axes)).max()
        assert (error < 1e-4) == (product.node in done), product.node


def test_int8_hardly_shifts(fp32: Path) -> None:
    program = read_program(fp32)
    placement = place(program)
    means = {product.activations[0]: np.ones(64) for product in placement.products if product.weight}
    for product in placement.products:
        if product.weight:
            size = array_of(next(n for n in program.graph if n.name == product.node).inputs[1]).shape[0]
            means[product.activations[0]] = np.ones(size)
    assert len(correct(program, placement, means, FORMATS["int8"])) == 8
