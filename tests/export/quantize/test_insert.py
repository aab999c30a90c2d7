"""Q/DQ pairs: what ONNX Runtime gives is what rounding every operand by hand gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

from secateur.export.graph_types import declared_precisions
from secateur.export.quantize.formats import FORMATS
from secateur.export.quantize.graph_edit import read_program
from secateur.export.quantize.insert import insert
from secateur.export.quantize.observe import observed
from secateur.export.quantize.placement import place
from secateur.export.to_onnx import export_onnx
from tests.export.conftest import needs_ort


class Siblings(nn.Module):
    """Two linears that read one tensor, and the product of what they give."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(16, 32), nn.Linear(16, 32, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return (self.left(x) @ self.right(x).transpose(1, 2)).mean(1)


@pytest.fixture(scope="module")
def model() -> Siblings:
    torch.manual_seed(0)
    return Siblings().eval()


@needs_ort
@pytest.mark.parametrize("word", FORMATS)
def test_the_result_is_that_of_the_definition(model: Siblings, tmp_path: Path, word: str) -> None:
    form = FORMATS[word]
    program = read_program(export_onnx(model, tmp_path / "model.onnx", input_shape=(20, 16)).path)
    placement = place(program, ends=True)
    assert len(placement.products) == 3
    assert len(placement.activations) == 3  # the input has one pair for both that read it
    # nothing is cut off: QuantizeLinear cuts at -128, one step below the format's last number
    reaches = dict(zip(placement.activations, (5.0, 4.0, 3.0), strict=True))
    insert(program, placement, reaches, form)
    assert [node.op_type for node in program.graph].count("QuantizeLinear") == 3
    ir.save(program, tmp_path / "model.quantised.onnx")
    declared = declared_precisions(ir.to_proto(program))
    assert set(declared.values()) == {word}
    images = torch.randn(2, 20, 16)
    found = next(observed(program, ["logits"], [{"input": images.numpy()}], as_written=True))["logits"]

    def rounded(tensor: Tensor, far: float) -> Tensor:
        return torch.from_numpy(form.round(tensor.numpy(), far))

    with torch.no_grad():
        x = rounded(images, 5.0)
        sides = []
        for layer in (model.left, model.right):
            weight = torch.stack([rounded(row, float(row.abs().max())) for row in layer.weight])
            sides.append(nn.functional.linear(x, weight, layer.bias))
        far = [reaches[name] for name in placement.products[2].activations]
        expected = (rounded(sides[0], far[0]) @ rounded(sides[1].transpose(1, 2), far[1])).mean(1)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-3, atol=2e-3)


@needs_ort
def test_a_sum_behind_a_convolution_reads_the_pair_of_its_tensor(tmp_path: Path) -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(16, 16, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return (x + self.conv(x)).mean((2, 3))

    program = read_program(export_onnx(Block(), tmp_path / "model.onnx", input_shape=(16, 4, 4)).path)
    placement = place(program, ends=True)
    assert list(placement.skips.values()) == ["input"]
    insert(program, placement, {"input": 2.0}, FORMATS["int8"])
    sums = next(node for node in program.graph if node.op_type == "Add")
    conv = next(node for node in program.graph if node.op_type == "Conv")
    assert conv.inputs[0] in sums.inputs
    assert [node.op_type for node in program.graph].count("QuantizeLinear") == 1
