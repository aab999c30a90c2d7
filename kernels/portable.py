"""The operators in plain PyTorch: what they compute on the CPU and on every device that has none of our kernels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from secateur.kernels.heads import HeadLayout


def ragged_attention(
    qkv: Tensor,
    layout: HeadLayout,
    qkv_bias: Tensor | None = None,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """`[B, N, sum(v)]`: one library call for the heads of each distinct pair of widths, put back in the heads' order.

    `qkv` `[B, N, sum(q) + sum(k) + sum(v)]`, `bias` `[1 or heads, N, N]`, `mask` `[M, N, N]` where sequence `b` takes
    mask `b % M`.
    """
    packed = qkv if qkv_bias is None else qkv + qkv_bias
    if mask is not None:
        sequences = torch.arange(packed.shape[0], device=mask.device)  # len() would fix the batch of an export
        mask = mask[sequences % mask.shape[0]].unsqueeze(1)
    heads: list[Tensor] = [packed] * layout.heads
    for (qk_width, v_width), members in layout.by_width().items():
        places = [layout.offsets[head] for head in members]
        q, k, v = (
            torch.stack([packed[..., place[part] : place[part] + width] for place in places], dim=1)
            for part, width in enumerate((qk_width, qk_width, v_width))
        )
        added = mask
        if bias is not None:
            own = bias if len(bias) == 1 else bias[members]
            added = own if mask is None else own + mask
        result = F.scaled_dot_product_attention(q, k, v, attn_mask=added, scale=layout.scale)
        for index, head in enumerate(members):
            heads[head] = result[:, index]
    return torch.cat(heads, dim=-1)


def window_attention(
    qkv: Tensor,
    layout: HeadLayout,
    window: tuple[int, int],
    shift: tuple[int, int],
    qkv_bias: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """`[B, H, W, sum(v)]`: roll by `-shift`, attention within each `window`, roll back (Swin, 2103.14030, fig. 4)."""
    batch, height, width, _ = qkv.shape
    rows, columns = height // window[0], width // window[1]
    rolled = torch.roll(qkv, (-shift[0], -shift[1]), (1, 2))
    mask = shift_mask((height, width), window, shift).to(qkv) if any(shift) else None
    tokens = _cut(rolled, window)
    out = ragged_attention(tokens, layout, qkv_bias, bias, mask)
    out = out.view(batch, rows, columns, *window, layout.out_width).transpose(2, 3)
    out = out.reshape(batch, height, width, layout.out_width)
    return torch.roll(out, shift, (1, 2))


def shift_mask(size: tuple[int, int], window: tuple[int, int], shift: tuple[int, int]) -> Tensor:
    """`[windows, tokens, tokens]`: -100 between tokens that the roll brought together from opposite borders, or 0."""
    bands = []
    for length, cut, step in zip(size, window, shift, strict=True):
        place = torch.arange(length)
        bands.append((place >= length - cut).int() + (place >= length - step).int())
    regions = _cut((3 * bands[0][:, None] + bands[1])[None, ..., None], window).squeeze(-1)
    return torch.where(regions.unsqueeze(1) == regions.unsqueeze(2), 0.0, -100.0)


def residual_layernorm(
    x: Tensor, branch: Tensor, scale: Tensor | None, weight: Tensor, bias: Tensor, epsilon: float
) -> tuple[Tensor, Tensor]:
    """`x + scale * branch` and its LayerNorm over the last dimension, both of the shape of `x`."""
    total = x + (branch if scale is None else branch * scale)
    return total, F.layer_norm(total, weight.shape, weight, bias, epsilon)


def bias_gelu(x: Tensor, bias: Tensor) -> Tensor:
    """`gelu(x + bias)` with the exact gelu (erf)."""
    return F.gelu(x + bias)


def _cut(x: Tensor, window: tuple[int, int]) -> Tensor:
    """`[B * windows, tokens, C]`: the windows of a map `[B, H, W, C]`, row by row."""
    batch, height, width, channels = x.shape
    cut = x.view(batch, height // window[0], window[0], width // window[1], window[1], channels)
    windows = (height // window[0]) * (width // window[1])
    return cut.transpose(2, 3).reshape(batch * windows, window[0] * window[1], channels)
