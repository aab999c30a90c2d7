"""PyTorch's operators `torch.ops.secateur.*`: our kernels on CUDA, plain PyTorch elsewhere, shapes for tracing.

Importing this module registers them: `secateur.fuse` does, and who loads a program of torch.export must. They are for
inference: none has a gradient. Under autocast they take the type that PyTorch's own attention, GELU and LayerNorm take.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from secateur.core.errors import KernelError
from secateur.kernels import on_gpu, portable
from secateur.kernels.heads import HeadLayout


@torch.library.custom_op(
    "secateur::ragged_attention",
    mutates_args=(),
    schema="(Tensor qkv, int[] qk_dims, int[] v_dims, float scale, Tensor? qkv_bias=None, Tensor? bias=None, "
    "Tensor? mask=None) -> Tensor",
)
def ragged_attention(
    qkv: Tensor,
    qk_dims: Sequence[int],
    v_dims: Sequence[int],
    scale: float,
    qkv_bias: Tensor | None = None,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """`[B, N, sum(v)]`: attention of heads of different widths, for `qkv` `[B, N, sum(q) + sum(k) + sum(v)]`.

    `bias` `[1 or heads, N, N]` and `mask` `[M, N, N]` (of sequence `b`: mask `b % M`) are added to the logits;
    `qkv_bias` `[row]` to the projection. Raises `KernelError` for shapes or types that do not fit together.
    """
    layout = HeadLayout(tuple(qk_dims), tuple(v_dims), scale)
    _check_heads(qkv, 3, layout, qkv_bias)
    tokens = qkv.shape[1]
    _check("bias", bias, qkv, [(heads, tokens, tokens) for heads in (1, layout.heads)])
    _check("mask", mask, qkv, [(max(1, len(mask)) if mask is not None and mask.ndim else 1, tokens, tokens)])
    if qkv.is_cuda:
        return on_gpu.ragged_attention(qkv, layout, qkv_bias, bias, mask)
    return portable.ragged_attention(qkv, layout, qkv_bias, bias, mask)


@torch.library.custom_op(
    "secateur::window_attention",
    mutates_args=(),
    schema="(Tensor qkv, int[] qk_dims, int[] v_dims, float scale, int[] window, int[] shift, Tensor? qkv_bias=None, "
    "Tensor? bias=None) -> Tensor",
)
def window_attention(
    qkv: Tensor,
    qk_dims: Sequence[int],
    v_dims: Sequence[int],
    scale: float,
    window: Sequence[int],
    shift: Sequence[int],
    qkv_bias: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """`[B, H, W, sum(v)]`: Swin's roll by `-shift`, attention in each window with its mask, and roll back.

    `qkv` `[B, H, W, sum(q) + sum(k) + sum(v)]` is a map of whole windows; `window` and `shift` are (down, right);
    `bias` `[1 or heads, T, T]` for the `T` tokens of a window. Raises `KernelError` for what does not fit together.
    """
    layout = HeadLayout(tuple(qk_dims), tuple(v_dims), scale)
    _check_heads(qkv, 4, layout, qkv_bias)
    if len(window) != 2 or len(shift) != 2 or not all(0 <= s < w for s, w in zip(shift, window, strict=True)):
        raise KernelError(
            f"windows of {list(window)} with a shift of {list(shift)} were given: "
            "both are (down, right), and a shift is at least 0 and less than its window"
        )
    size = (int(qkv.shape[1]), int(qkv.shape[2]))
    if any(n % w for n, w in zip(size, window, strict=True)):
        raise KernelError(
            f"a feature map of {size[0]} x {size[1]} was given with windows of {window[0]} x {window[1]}: "
            "it must be a whole number of windows, so pad it first"
        )
    tokens = window[0] * window[1]
    _check("bias", bias, qkv, [(heads, tokens, tokens) for heads in (1, layout.heads)])
    places = (window[0], window[1]), (shift[0], shift[1])
    if qkv.is_cuda:
        return on_gpu.window_attention(qkv, layout, *places, qkv_bias, bias)
    return portable.window_attention(qkv, layout, *places, qkv_bias, bias)


@torch.library.custom_op(
    "secateur::residual_layernorm",
    mutates_args=(),
    schema="(Tensor x, Tensor branch, Tensor? scale, Tensor weight, Tensor bias, float epsilon) -> (Tensor, Tensor)",
)
def residual_layernorm(
    x: Tensor, branch: Tensor, scale: Tensor | None, weight: Tensor, bias: Tensor, epsilon: float
) -> tuple[Tensor, Tensor]:
    """`x + scale * branch` (`scale`: LayerScale, optional) and its LayerNorm over the last dimension."""
    _check("branch", branch, x, [tuple(x.shape)])
    for name, vector in (("scale", scale), ("weight", weight), ("bias", bias)):
        _check(name, vector, x, [(x.shape[-1],)])
    if x.is_cuda:
        return on_gpu.residual_layernorm(x, branch, scale, weight, bias, epsilon)
    return portable.residual_layernorm(x, branch, scale, weight, bias, epsilon)


@torch.library.custom_op("secateur::bias_gelu", mutates_args=(), schema="(Tensor x, Tensor bias) -> Tensor")
def bias_gelu(x: Tensor, bias: Tensor) -> Tensor:
    """`gelu(x + bias)` with the exact gelu; `bias` has the size of the last dimension of `x`."""
    _check("bias", bias, x, [(x.shape[-1],)])
    return on_gpu.bias_gelu(x, bias) if x.is_cuda else portable.bias_gelu(x, bias)


@ragged_attention.register_fake
@window_attention.register_fake
def _attention_shape(qkv: Tensor, qk_dims: Sequence[int], v_dims: Sequence[int], *rest: object) -> Tensor:
    return qkv.new_empty(*qkv.shape[:-1], sum(v_dims))


@residual_layernorm.register_fake
def _residual_shape(x: Tensor, *rest: object) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape)


@bias_gelu.register_fake
def _gelu_shape(x: Tensor, bias: Tensor) -> Tensor:
    return x.new_empty(x.shape)


_AUTOCAST = torch.library.Library("secateur", "FRAGMENT")  # type: ignore[no-untyped-call]  # of torch


def _register_autocast(name: str, in_float32: bool) -> None:
    """Under autocast an operator takes all its tensors in one type: float32, or the one that autocast lowers to."""
    op = getattr(torch.ops.secateur, name)

    def on(device: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            to = torch.float32 if in_float32 else torch.get_autocast_dtype(device)
            with torch.autocast(device, enabled=False):
                return op(*(_cast(x, to) for x in args), **{key: _cast(x, to) for key, x in kwargs.items()})

        return call

    for device, key in (("cpu", "AutocastCPU"), ("cuda", "AutocastCUDA")):
        _AUTOCAST.impl(name, on(device), key)  # type: ignore[no-untyped-call]  # of torch


def _cast(x: Any, to: torch.dtype) -> Any:
    lower = isinstance(x, Tensor) and x.is_floating_point() and x.dtype != torch.float64  # as autocast itself
    return x.to(to) if lower else x


for _name in ("ragged_attention", "window_attention", "bias_gelu"):
    _register_autocast(_name, in_float32=False)
_register_autocast("residual_layernorm", in_float32=True)


def _check_heads(qkv: Tensor, ndim: int, layout: HeadLayout, qkv_bias: Tensor | None) -> None:
    if qkv.ndim != ndim or qkv.shape[-1] != layout.row_width:
        raise KernelError(
            f"a projection of shape {list(qkv.shape)} was given: for heads of {layout.qk_dims} and {layout.v_dims} it "
            f"needs {ndim} dimensions, the last of {layout.row_width}"
        )
    _check("qkv_bias", qkv_bias, qkv, [(layout.row_width,)])


def _check(name: str, given: Tensor | None, like: Tensor, shapes: Sequence[tuple[int, ...]]) -> None:
    """Raises `KernelError` unless `given` is absent or has one of the shapes, the type and the device of `like`."""
    if given is None or (tuple(given.shape) in shapes and given.dtype == like.dtype and given.device == like.device):
        return
    allowed = " or ".join(str(list(shape)) for shape in dict.fromkeys(shapes))
    raise KernelError(
        f"{name} has the shape {list(given.shape)} in {given.dtype} on {given.device}: "
        f"it must be {allowed} in {like.dtype} on {like.device}"
    )
