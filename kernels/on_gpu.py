"""The operators by our CUDA kernels: which kernel, with which arguments, on tensors of one device.

`out` is where a result is written, in the place of a new tensor; nothing is launched for a result without elements.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from secateur.core.errors import KernelError
from secateur.kernels import launch as launching
from secateur.kernels.heads import HeadLayout
from secateur.kernels.variants import (
    Tile,
    attention_launch,
    gelu_launch,
    layernorm_launch,
    ragged_launch,
    window_launch,
)

NAMES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}
ALIGNMENT_BYTES = 16


def ragged_attention(
    qkv: Tensor,
    layout: HeadLayout,
    qkv_bias: Tensor | None = None,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    tile: Tile | None = None,
    out: Tensor | None = None,
    parts: int = 1,
) -> Tensor:
    """`[B, N, sum(v)]`, as `portable.ragged_attention`, in one launch; by `tile` instead of the usual choice.

    `parts` is how many blocks share the rows of a head, and counts where a tile is given that lets them.
    """
    batch, tokens, _ = qkv.shape
    out = _output(out, qkv, (batch, tokens, layout.out_width))
    if not out.numel():
        return out
    qkv = _aligned(qkv)
    if tile is not None:
        launch = attention_launch("ragged_attention", tile, layout, _dtype(qkv), batch, tokens, parts)
    else:
        launch = ragged_launch(layout, _dtype(qkv), batch, tokens, launching.device_limits(qkv.device))
    launching.run(
        launch,
        [qkv, _dense(qkv_bias), _dense(bias), _length(bias), _dense(mask), _length(mask),
         launching.table_on(layout, qkv.device), tokens, out],
    )  # fmt: skip
    return out


def window_attention(
    qkv: Tensor,
    layout: HeadLayout,
    window: tuple[int, int],
    shift: tuple[int, int],
    qkv_bias: Tensor | None = None,
    bias: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """`[B, H, W, sum(v)]`, as `portable.window_attention`, in one launch."""
    batch, height, width, _ = qkv.shape
    out = _output(out, qkv, (batch, height, width, layout.out_width))
    if not out.numel():
        return out
    qkv = _aligned(qkv)
    limits = launching.device_limits(qkv.device)
    launch = window_launch(layout, _dtype(qkv), batch, (height, width), window, limits)
    launching.run(
        launch,
        [qkv, _dense(qkv_bias), _dense(bias), _length(bias), launching.table_on(layout, qkv.device),
         height, width, *window, *shift, out],
    )  # fmt: skip
    return out


def residual_layernorm(
    x: Tensor,
    branch: Tensor,
    scale: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    epsilon: float,
    out: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """`x + scale * branch` and its LayerNorm, as `portable.residual_layernorm`, in one launch."""
    given = out or (None, None)
    total, normed = _output(given[0], x, x.shape), _output(given[1], x, x.shape)
    if not total.numel():
        return total, normed
    x, branch, weight, bias = _aligned(x), _aligned(branch), _aligned(weight), _aligned(bias)
    scale = None if scale is None else _aligned(scale)
    width = x.shape[-1]
    rows = x.numel() // width
    arguments = [x, branch, scale, weight, bias, rows, width, epsilon, total, normed]
    launching.run(layernorm_launch(_dtype(x), rows, width), arguments)
    return total, normed


def bias_gelu(x: Tensor, bias: Tensor, out: Tensor | None = None) -> Tensor:
    """`gelu(x + bias)`, as `portable.bias_gelu`, in one launch."""
    out = _output(out, x, x.shape)
    if not out.numel():
        return out
    x = _aligned(x)
    width = x.shape[-1]
    rows = x.numel() // width
    limits = launching.device_limits(x.device)
    launching.run(gelu_launch(_dtype(x), rows, width, limits.multiprocessors), [x, _aligned(bias), rows, width, out])
    return out


def _output(given: Tensor | None, like: Tensor, shape: Sequence[int]) -> Tensor:
    """The tensor that a kernel writes; raises `KernelError` for a given one that it would not fill."""
    if given is None:
        return like.new_empty(shape)
    expected = tuple(shape), like.dtype, like.device
    if (tuple(given.shape), given.dtype, given.device) != expected or not given.is_contiguous():
        raise KernelError(
            f"an output of shape {list(given.shape)} in {given.dtype} on {given.device} was given: it must be "
            f"{list(shape)} in {like.dtype} on {like.device}, and contiguous"
        )
    return given


def _dtype(x: Tensor) -> str:
    if x.dtype not in NAMES:
        raise KernelError(f"a tensor of {x.dtype} was given, but the kernels take float32, float16 and bfloat16")
    return NAMES[x.dtype]


def _aligned(x: Tensor) -> Tensor:
    """The tensor itself where it is contiguous and begins at a multiple of 16 bytes, or else a copy that does."""
    x = x.contiguous()
    return x if x.data_ptr() % ALIGNMENT_BYTES == 0 else x.clone()


def _dense(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.contiguous()


def _length(x: Tensor | None) -> int:
    return 0 if x is None else len(x)
