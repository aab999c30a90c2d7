"""Functions in another form, against PyTorch's own: attention of any rank, folding as a transposed convolution."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import CondConv2d
from torch import Tensor, nn

from secateur.export.function_modes import ATTENTION, FoldAsConvolution, FourDimensions, convolved
from secateur.export.parity import check_parity
from secateur.export.to_onnx import export_onnx

PAIR = st.tuples(st.integers(1, 3), st.integers(1, 3))


@pytest.mark.parametrize("mask", [None, (7, 9), (4, 7, 9), (3, 1, 7, 9), (2, 3, 4, 7, 9), (2, 3, 1, 7, 9)])
@pytest.mark.parametrize("function", ATTENTION)
def test_attention_computes_the_same(mask: tuple[int, ...] | None, function: Callable[..., Tensor]) -> None:
    query, key, value = torch.randn(2, 3, 4, 7, 6), torch.randn(2, 3, 4, 9, 6), torch.randn(2, 3, 4, 9, 5)
    bias = None if mask is None else torch.randn(mask)
    expected = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    with FourDimensions():
        found = (function(query, key, value, attn_mask=bias), function(query, key, value, bias))
    for tensor in found:
        torch.testing.assert_close(tensor, expected)


@pytest.mark.parametrize("mask", [None, (7, 9), (4, 7, 9), (1, 7, 9)])
@pytest.mark.parametrize("function", ATTENTION)
def test_attention_computes_the_same_without_a_batch(
    mask: tuple[int, ...] | None, function: Callable[..., Tensor]
) -> None:
    query, key, value = torch.randn(4, 7, 6), torch.randn(4, 9, 6), torch.randn(4, 9, 5)
    bias = None if mask is None else torch.randn(mask)
    with FourDimensions():
        found = function(query, key, value, bias)
    torch.testing.assert_close(found, F.scaled_dot_product_attention(query, key, value, attn_mask=bias))


class Windows(nn.Module):
    """Attention within windows that are a dimension of their own, as in Hiera and NesT."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function
        self.qkv, self.proj = nn.Linear(6, 24), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 4)).permute(3, 0, 4, 1, 2, 5).unbind(0)
        out: Tensor = self.proj(self.function(q, k, v).permute(0, 2, 3, 1, 4).flatten(3))
        return out


@pytest.mark.parametrize("function", ATTENTION)
def test_attention_within_windows_is_exported(tmp_path: Path, function: Callable[..., Tensor]) -> None:
    torch.manual_seed(0)
    model = Windows(function).eval()
    export_onnx(model, tmp_path / "m.onnx", torch.randn(1, 4, 7, 6))
    assert check_parity(model, tmp_path / "m.onnx", batches=(1, 3)).worst.relative < 1e-4


@settings(max_examples=60, deadline=None)
@given(kernel=PAIR, stride=PAIR, dilation=PAIR, padding=st.tuples(st.integers(0, 1), st.integers(0, 1)), data=st.data())
def test_folding_computes_the_same(
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


@settings(max_examples=40, deadline=None)
@given(
    kernel=PAIR,
    stride=PAIR,
    dilation=PAIR,
    padding=st.one_of(st.tuples(st.integers(0, 2), st.integers(0, 2)), st.integers(0, 2), st.just("valid")),
    groups=st.integers(1, 3),
    biased=st.booleans(),
)
def test_a_convolution_group_by_group_computes_the_same(
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    padding: tuple[int, int] | int | str,
    groups: int,
    biased: bool,
) -> None:
    image, weight = torch.randn(2, 4 * groups, 9, 8), torch.randn(5 * groups, 4, *kernel)
    rest = (torch.randn(5 * groups) if biased else None, stride, padding, dilation, groups)
    torch.testing.assert_close(convolved(image, weight, *rest), F.conv2d(image, weight, *rest), rtol=1e-4, atol=1e-4)
    rest = (None, 1, "same", dilation, groups)
    torch.testing.assert_close(convolved(image, weight, *rest), F.conv2d(image, weight, *rest), rtol=1e-4, atol=1e-4)


class Routed(nn.Module):
    """Convolutions whose kernels each sample mixes for itself."""

    def __init__(self) -> None:
        super().__init__()
        self.route = nn.Linear(3, 4)
        self.one = CondConv2d(3, 8, 3, stride=2, padding=1, num_experts=4, bias=True)
        self.two = CondConv2d(8, 8, 3, padding="same", num_experts=4, groups=8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        share = self.route(x.mean((2, 3))).sigmoid()
        out: Tensor = self.head(self.two(self.one(x, share), share).mean((2, 3)))
        return out


def test_samples_with_kernels_of_their_own_are_exported_for_any_batch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Routed().eval()
    export_onnx(model, tmp_path / "m.onnx", torch.randn(1, 3, 9, 8))
    assert check_parity(model, tmp_path / "m.onnx", batches=(1, 3)).worst.relative < 1e-5
