"""The operators in plain PyTorch against float64 and against timm, and their mask of shifted windows."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models.swin_transformer import SwinTransformerBlock

from secateur.kernels import portable
from secateur.kernels.heads import HeadLayout
from tests.kernels.reference import attention, error_of, window_attention
from tests.kernels.tensors import LAYOUT, extras, numpy, values

WIDTHS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=4)


@settings(max_examples=30, deadline=None)
@given(widths=WIDTHS, batch=st.integers(1, 3), tokens=st.integers(1, 7), seed=st.integers(0, 1000))
def test_heads_of_any_widths_in_their_order(widths: list[tuple[int, int]], batch: int, tokens: int, seed: int) -> None:
    layout = HeadLayout(tuple(a for a, _ in widths), tuple(b for _, b in widths), 0.3)
    qkv = values(batch, tokens, layout.row_width, seed=seed)
    out = portable.ragged_attention(qkv, layout)
    assert error_of(out.double().numpy(), attention(qkv.double().numpy(), layout)) < 1e-5


@pytest.mark.parametrize("masks", [1, 2, 3])
def test_sequences_take_their_masks_in_turn(masks: int) -> None:
    qkv, mask = values(5, 6, LAYOUT.row_width), values(masks, 6, 6, seed=1)
    out = portable.ragged_attention(qkv, LAYOUT, mask=mask)
    assert error_of(out.double().numpy(), attention(numpy(qkv), LAYOUT, mask=numpy(mask))) < 2e-6


def test_one_bias_serves_all_heads() -> None:
    given = extras(torch.float32, 2, 6)
    qkv, bias = values(2, 6, LAYOUT.row_width), given["bias"][:1]
    one = portable.ragged_attention(qkv, LAYOUT, bias=bias)
    torch.testing.assert_close(one, portable.ragged_attention(qkv, LAYOUT, bias=bias.expand(LAYOUT.heads, -1, -1)))


@settings(max_examples=25, deadline=None)
@given(
    window=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    windows=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    data=st.data(),
)
def test_windows_are_rolled_cut_and_put_back(
    window: tuple[int, int], windows: tuple[int, int], data: st.DataObject
) -> None:
    size = window[0] * windows[0], window[1] * windows[1]
    shift = tuple(data.draw(st.integers(0, n - 1)) for n in window)
    layout = HeadLayout((3, 2), (4, 1), 0.4)
    qkv = values(2, *size, layout.row_width)
    bias = values(2, window[0] * window[1], window[0] * window[1], seed=1)
    out = portable.window_attention(qkv, layout, window, (shift[0], shift[1]), bias=bias)
    expected = window_attention(numpy(qkv), layout, window, (shift[0], shift[1]), numpy(bias))
    assert error_of(out.double().numpy(), expected) < 1e-5


@pytest.mark.parametrize(
    ("size", "window", "shift"),
    [((8, 8), (4, 4), (2, 2)), ((6, 8), (3, 4), (1, 2)), ((8, 12), (4, 4), (0, 2)), ((8, 12), (4, 4), (2, 0))],
)
def test_the_mask_of_shifted_windows_is_timms(
    size: tuple[int, int], window: tuple[int, int], shift: tuple[int, int]
) -> None:
    block = SwinTransformerBlock(8, size, window_size=window, shift_size=shift, num_heads=1)
    assert torch.equal(portable.shift_mask(size, window, shift), block.get_attn_mask(torch.zeros(1, *size, 8)))


@pytest.mark.parametrize("scaled", [False, True])
def test_a_residual_and_its_normalisation(scaled: bool) -> None:
    x, branch, weight, bias = (values(2, 3, 8, seed=0), values(2, 3, 8, seed=1), values(8, seed=2), values(8, seed=3))
    scale = values(8, seed=4) if scaled else None
    total, normed = portable.residual_layernorm(x, branch, scale, weight, bias, 1e-3)
    expected = x + branch * (scale if scale is not None else 1)
    torch.testing.assert_close(total, expected)
    off = expected - expected.mean(-1, keepdim=True)
    torch.testing.assert_close(normed, off / (off.square().mean(-1, keepdim=True) + 1e-3).sqrt() * weight + bias)


def test_the_gelu_is_the_exact_one() -> None:
    x, bias = values(3, 8), values(8, seed=1)
    t = x + bias
    torch.testing.assert_close(portable.bias_gelu(x, bias), t / 2 * (1 + torch.erf(t / 2**0.5)))
