"""Slow float64 references, written from the definitions, and inputs for them."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from secateur.kernels.heads import HeadLayout

Array = NDArray[Any]
NUMPY = {"fp32": np.float32, "fp16": np.float16, "bf16": ml_dtypes.bfloat16}
# ||out - reference|| / ||reference||: float32 sums, and operands and results rounded to 11 or 8 bits
TOLERANCE = {"fp32": 2e-6, "fp16": 1e-3, "bf16": 8e-3}


def attention(
    qkv: Array,
    layout: HeadLayout,
    qkv_bias: Array | None = None,
    bias: Array | None = None,
    mask: Array | None = None,
) -> Array:
    """`[B, N, sum(v)]` for `qkv` `[B, N, .]`: one head, one sequence and one query at a time."""
    x = qkv.astype(np.float64) + (0 if qkv_bias is None else qkv_bias.astype(np.float64))
    out = np.zeros((*x.shape[:2], layout.out_width))
    for b in range(len(x)):
        for h, (q_at, k_at, v_at, out_at) in enumerate(layout.offsets):
            q, k = x[b, :, q_at : q_at + layout.qk_dims[h]], x[b, :, k_at : k_at + layout.qk_dims[h]]
            v = x[b, :, v_at : v_at + layout.v_dims[h]]
            for i in range(x.shape[1]):
                logits = layout.scale * (k @ q[i])
                if bias is not None:
                    logits = logits + bias[h % len(bias), i].astype(np.float64)
                if mask is not None:
                    logits = logits + mask[b % len(mask), i].astype(np.float64)
                if np.all(np.isneginf(logits)):
                    continue  # nothing to attend to: zeros
                weights = np.exp(logits - logits.max())
                out[b, i, out_at : out_at + layout.v_dims[h]] = weights @ v / weights.sum()
    return out


def window_attention(
    qkv: Array, layout: HeadLayout, window: tuple[int, int], shift: tuple[int, int], bias: Array | None = None
) -> Array:
    """`[B, H, W, sum(v)]`: roll, cut into windows, attend with the shift mask, put together, roll back."""
    batch, height, width, _ = qkv.shape
    rolled = np.roll(qkv, (-shift[0], -shift[1]), (1, 2))
    regions = np.zeros((height, width), int)
    for number, (ys, xs) in enumerate(
        (ys, xs) for ys in _bands(height, window[0], shift[0]) for xs in _bands(width, window[1], shift[1])
    ):
        regions[ys, xs] = number
    out = np.zeros((batch, height, width, layout.out_width))
    for y in range(0, height, window[0]):
        for x in range(0, width, window[1]):
            cut = (slice(y, y + window[0]), slice(x, x + window[1]))
            region = regions[cut].ravel()
            mask = np.where(region[:, None] == region[None], 0.0, -100.0) if any(shift) else np.zeros((1, 1))
            mask = np.broadcast_to(mask, (1, len(region), len(region)))
            tokens = rolled[:, *cut].reshape(batch, len(region), -1)
            result = attention(tokens, layout, bias=bias, mask=mask)
            out[:, *cut] = result.reshape(batch, *window, -1)
    return np.roll(out, shift, (1, 2))


def _bands(size: int, window: int, shift: int) -> tuple[slice, ...]:
    """Swin's three bands of a rolled axis: untouched, the last window's own part, what the roll brought around."""
    return (slice(0, size - window), slice(size - window, size - shift), slice(size - shift, size if shift else 0))


def error_of(out: Array, reference: Array) -> float:
    """`||out - reference|| / ||reference||`; infinite where an element is not finite."""
    if not np.all(np.isfinite(out.astype(np.float64))):
        return np.inf
    return float(np.linalg.norm(out.astype(np.float64) - reference) / max(np.linalg.norm(reference), 1e-30))


def poisoned(shape: tuple[int, ...], dtype: str) -> Array:
    """An output whose every byte is 0xff: NaN in all three types."""
    out = np.empty(shape, NUMPY[dtype])
    out.view(np.uint8)[...] = 0xFF
    return out


def drawn(seed: int, shape: tuple[int, ...], dtype: str) -> Array:
    """Normal values of the type."""
    return np.random.default_rng(seed).normal(size=shape).astype(NUMPY[dtype])
