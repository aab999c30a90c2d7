"""Functions that the exporter or TensorRT cannot take, run in a form that they can while a model is exported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

ATTENTION = (F.scaled_dot_product_attention, torch.ops.aten.scaled_dot_product_attention.default)
FOLD = (F.fold, torch.ops.aten.col2im.default)
CONVOLUTION = (F.conv2d, torch.conv2d)
_FOLD_NAMES = ("input", "output_size", "kernel_size", "dilation", "padding", "stride")
_FOLD_DEFAULTS = {"dilation": 1, "padding": 0, "stride": 1}
_CONVOLUTION_NAMES = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")


class FourDimensions(TorchFunctionMode):
    """Within it, attention over `[..., H, N, D]` runs over `[B, H, N, D]`: earlier dimensions are one, or are added.

    PyTorch's ONNX exporter translates attention of four dimensions only.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func not in ATTENTION or len(args) < 3 or args[0].ndim in (2, 4):
            return func(*args, **kwargs)
        query, key, value, *rest = args
        outer = query.shape[:-3]
        mask = rest[0] if rest else kwargs.get("attn_mask")
        if isinstance(mask, Tensor) and mask.ndim > 2:
            mask = mask.expand(*outer, *mask.shape[-3:]).reshape(-1, *mask.shape[-3:])
        if rest:
            rest[0] = mask
        elif "attn_mask" in kwargs:
            kwargs = {**kwargs, "attn_mask": mask}
        result = func(*(part.reshape(-1, *part.shape[-3:]) for part in (query, key, value)), *rest, **kwargs)
        return result.reshape(*outer, *result.shape[-3:])


class FoldAsConvolution(TorchFunctionMode):
    """Within it, `fold` of `[B, C * kh * kw, L]` runs as the transposed convolution of each channel that it equals.

    Each position of the kernel has an input channel, whose weight is one at that position and zero elsewhere. TensorRT
    reads no `Col2Im`.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func not in FOLD:
            return func(*args, **kwargs)
        return _folded(**{**_FOLD_DEFAULTS, **dict(zip(_FOLD_NAMES, args, strict=False)), **kwargs})


class ConvolutionBySample(TorchFunctionMode):
    """Within it, a convolution whose number of groups is a symbol runs as products of patches and weights.

    So do samples that have a kernel each (CondConv, dynamic convolution), laid side by side as groups of one sample: an
    ONNX convolution has a number of groups that is written down.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = {**dict(zip(_CONVOLUTION_NAMES, args, strict=False)), **(kwargs or {})}
        if func not in CONVOLUTION or not isinstance(given.get("groups"), torch.SymInt):
            return func(*args, **(kwargs or {}))
        return convolved(**given)


def convolved(
    input: Tensor,  # the name that torch gives it
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int | torch.SymInt = 1,
) -> Tensor:
    """`conv2d` of `[B, groups * C, H, W]` by `[groups * O, C, kh, kw]`: `[B, groups * O, H', W']`, group by group."""
    (batch, *_, height, width), (_, channels, *kernel) = input.shape, weight.shape
    gaps, step = _pair(dilation), _pair(stride)
    reach = [gap * (taps - 1) for gap, taps in zip(gaps, kernel, strict=True)]
    border = reach if padding == "same" else [0, 0] if padding == "valid" else [2 * pad for pad in _pair(padding)]
    before = [total // 2 for total in border]
    padded = F.pad(input, (before[1], border[1] - before[1], before[0], border[0] - before[0]))
    size = [
        (length + total - far - 1) // by + 1
        for length, total, far, by in zip((height, width), border, reach, step, strict=True)
    ]
    patches = F.unfold(padded.reshape(-1, channels, *padded.shape[2:]), tuple(kernel), tuple(gaps), 0, tuple(step))
    matrices = weight.reshape(groups, -1, weight[0].numel())
    found = (matrices @ patches.reshape(batch, groups, *patches.shape[1:])).reshape(batch, -1, *size)
    return found if bias is None else found + bias.reshape(-1, 1, 1)


def _folded(
    input: Tensor,  # the name that torch gives it
    output_size: int | Sequence[int],
    kernel_size: int | Sequence[int],
    dilation: int | Sequence[int],
    padding: int | Sequence[int],
    stride: int | Sequence[int],
) -> Tensor:
    """`[B, C * kh * kw, L]` as `[B, C, H, W]`, and without a batch as `[C, H, W]`."""
    size, kernel, gaps, border, step = map(_pair, (output_size, kernel_size, dilation, padding, stride))
    reach = [gap * (width - 1) for gap, width in zip(gaps, kernel, strict=True)]
    full = [length + 2 * pad - far - 1 for length, pad, far in zip(size, border, reach, strict=True)]
    positions = [length // by + 1 for length, by in zip(full, step, strict=True)]
    rest = [length % by for length, by in zip(full, step, strict=True)]
    taps = kernel[0] * kernel[1]
    channels = input.shape[-2] // taps
    weight = torch.eye(taps, dtype=input.dtype, device=input.device).reshape(taps, 1, *kernel).repeat(channels, 1, 1, 1)
    patches = input.reshape(*input.shape[:-1], *positions)
    return F.conv_transpose2d(patches, weight, None, step, border, rest, channels, gaps)


def _pair(value: Any) -> list[int]:
    """A number for each of two dimensions; one of them, or a list of one, is for both."""
    values = [value] if isinstance(value, int) else list(value)
    return values if len(values) == 2 else values * 2
