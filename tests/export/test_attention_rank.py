"""Attention over more than four dimensions, exported and run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.export.attention_rank import ATTENTION, FourDimensions
from secateur.export.parity import check_parity
from secateur.export.to_onnx import export_onnx


@pytest.mark.parametrize("mask", [None, (7, 9), (4, 7, 9), (3, 1, 7, 9), (2, 3, 4, 7, 9), (2, 3, 1, 7, 9)])
@pytest.mark.parametrize("function", ATTENTION)
def test_it_computes_the_same(mask: tuple[int, ...] | None, function: Callable[..., Tensor]) -> None:
    query, key, value = torch.randn(2, 3, 4, 7, 6), torch.randn(2, 3, 4, 9, 6), torch.randn(2, 3, 4, 9, 5)
    bias = None if mask is None else torch.randn(mask)
    expected = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    with FourDimensions():
        found = (function(query, key, value, attn_mask=bias), function(query, key, value, bias))
    for tensor in found:
        torch.testing.assert_close(tensor, expected)


@pytest.mark.parametrize("mask", [None, (7, 9), (4, 7, 9), (1, 7, 9)])
@pytest.mark.parametrize("function", ATTENTION)
def test_it_computes_the_same_without_a_batch(mask: tuple[int, ...] | None, function: Callable[..., Tensor]) -> None:
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
