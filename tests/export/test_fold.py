"""Folding as a transposed convolution, against PyTorch's own."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from secateur.export.fold import FoldAsConvolution
from secateur.export.parity import check_parity
from secateur.export.to_onnx import export_onnx

PAIR = st.tuples(st.integers(1, 3), st.integers(1, 3))


@settings(max_examples=60, deadline=None)
@given(kernel=PAIR, stride=PAIR, dilation=PAIR, padding=st.tuples(st.integers(0, 1), st.integers(0, 1)), data=st.data())
def test_it_computes_the_same(
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    padding: tuple[int, int],
    data: st.DataObject,
) -> None:
    size = (data.draw(st.integers(7, 10)), data.draw(st.integers(7, 10)))
    image = torch.randn(2, 3, *size)
    patches = F.unfold(image, kernel, dilation, padding, stride)
    expected = F.fold(patches, size, kernel, dilation, padding, stride)
    with FoldAsConvolution():
        found = F.fold(patches, size, kernel, dilation=dilation, padding=padding, stride=stride)
        again = torch.ops.aten.col2im.default(patches[0], size, kernel, dilation, padding, stride)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(again, expected[0])


class Overlapping(nn.Module):
    """Patches that overlap, each changed, and summed where they lie: VOLO's outlook attention in small."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(27, 27)

    def forward(self, x: Tensor) -> Tensor:
        patches = F.unfold(x, 3, padding=1, stride=2)
        return F.fold(self.mix(patches.mT).mT, (8, 8), 3, padding=1, stride=2)


def test_an_exported_model_has_no_fold(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Overlapping().eval()
    export_onnx(model, tmp_path / "m.onnx", torch.randn(1, 3, 8, 8))
    assert "Col2Im" not in {node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node}
    assert check_parity(model, tmp_path / "m.onnx", batches=(1, 3)).worst.relative < 1e-5
