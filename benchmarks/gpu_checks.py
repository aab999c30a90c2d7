"""Every kernel at every tile size against float64, on the GPU: what has to hold before anything is timed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from secateur.kernels import on_gpu, portable
from secateur.kernels.heads import HeadLayout
from secateur.kernels.variants import RAGGED_TILES, DeviceLimits

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
LIMITS = {"fp32": 1e-5, "fp16": 2e-3, "bf16": 1.6e-2}
"""The largest `||out - reference|| / ||reference||` of each type: float32 sums, operands rounded to 11 or 8 bits."""

TOKENS = (1, 17, 64, 65, 197, 1024)


@dataclass(frozen=True)
class Check:
    """One comparison: `error` is relative, in the 2-norm; the outputs were NaN before."""

    kernel: str
    dtype: str
    shape: str
    error: float

    @property
    def passed(self) -> bool:
        """Whether the error is within the type's limit."""
        return self.error < LIMITS[self.dtype]


def run_checks(limits: DeviceLimits, device: str = "cuda") -> Iterator[Check]:
    """All checks on the current GPU, one after the other."""
    for dtype in DTYPES:
        yield from _ragged(dtype, limits, device)
        yield from _window(dtype, device)
        yield from _rows(dtype, device)


def _ragged(dtype: str, limits: DeviceLimits, device: str) -> Iterator[Check]:
    for tile in RAGGED_TILES:
        cores = dtype != "fp32" and limits.capability >= 80
        if tile.tensor_cores > cores or tile.shared_bytes > limits.shared_bytes_per_block:
            continue
        wide = tile.widest
        for layout in (
            HeadLayout((wide, 8, wide // 2), (8, wide, 24), 0.2),
            HeadLayout((7, wide - 3), (wide - 1, 5), 0.2),
        ):
            for tokens in TOKENS:
                qkv = _drawn(2, tokens, layout.row_width, dtype=dtype, device=device)
                extras = {
                    "qkv_bias": _drawn(layout.row_width, dtype=dtype, device=device),
                    "bias": _drawn(layout.heads, tokens, tokens, dtype=dtype, device=device),
                }
                for given in ({}, extras):
                    out = on_gpu.ragged_attention(qkv, layout, **given, tile=tile)
                    expected = portable.ragged_attention(
                        qkv.double(), layout, **{n: x.double() for n, x in given.items()}
                    )
                    name = f"ragged_attention{tile.suffix}" + (" with bias" if given else "")
                    yield Check(name, dtype, f"2 x {tokens}, {layout.qk_dims} {layout.v_dims}", _error(out, expected))


def _window(dtype: str, device: str) -> Iterator[Check]:
    for layout in (HeadLayout((32, 16), (24, 32), 0.2), HeadLayout((96, 9), (11, 128), 0.2)):
        for shift in ((0, 0), (3, 3)):
            qkv = _drawn(2, 14, 21, layout.row_width, dtype=dtype, device=device)
            bias = _drawn(layout.heads, 49, 49, dtype=dtype, device=device)
            out = on_gpu.window_attention(qkv, layout, (7, 7), shift, bias=bias)
            expected = portable.window_attention(qkv.double(), layout, (7, 7), shift, bias=bias.double())
            yield Check("window_attention", dtype, f"2 x 14 x 21, shift {shift}", _error(out, expected))


def _rows(dtype: str, device: str) -> Iterator[Check]:
    for width in (1, 376, 383, 384, 1536):
        x, branch = (_drawn(197, width, dtype=dtype, device=device) for _ in range(2))
        scale, weight, bias = (_drawn(width, dtype=dtype, device=device) for _ in range(3))
        wide_x, wide_branch, wide_scale, wide_weight, wide_bias = (
            tensor.double() for tensor in (x, branch, scale, weight, bias)
        )
        for part, out, expected in zip(
            ("sum", "normed"),
            on_gpu.residual_layernorm(x, branch, scale, weight, bias, 1e-3),
            portable.residual_layernorm(wide_x, wide_branch, wide_scale, wide_weight, wide_bias, 1e-3),
            strict=True,
        ):
            yield Check(f"residual_layernorm, {part}", dtype, f"197 x {width}", _error(out, expected))
        expected = portable.bias_gelu(wide_x, wide_bias)
        yield Check("bias_gelu", dtype, f"197 x {width}", _error(on_gpu.bias_gelu(x, bias), expected))


def _drawn(*shape: int, dtype: str, device: str) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator).to(device, DTYPES[dtype])


def _error(out: Tensor, expected: Tensor) -> float:
    wide = out.double()
    if not bool(wide.isfinite().all()):
        return float("inf")
    return float((wide - expected).norm() / expected.norm().clamp_min(1e-30))
