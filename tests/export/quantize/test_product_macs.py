"""MACs of a graph's products, beside those that are counted on the model."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from secateur.benchmarks.flops import count_macs
from secateur.export.quantize.graph_edit import read_program
from secateur.export.quantize.product_macs import product_macs
from secateur.export.to_onnx import export_onnx
from tests.export.conftest import SHAPE, Cnn, needs_ort

pytestmark = needs_ort


def test_products_of_a_transformer(transformer: nn.Module, fp32: Path) -> None:
    found = product_macs(read_program(fp32), [{"input": torch.randn(3, *SHAPE).numpy()}])
    assert sum(found.values()) == count_macs(transformer, torch.zeros(1, *SHAPE)).macs
    assert len(found) == 14


def test_convolutions_in_groups(tmp_path: Path) -> None:
    path = export_onnx(Cnn().eval(), tmp_path / "cnn.onnx", input_shape=(3, 8, 8)).path
    found = product_macs(read_program(path), [{"input": torch.randn(2, 3, 8, 8).numpy()}])
    assert sorted(found.values()) == [8 * 4, 16 * 8 * 9, 16 * 8 * 3 * 9]
