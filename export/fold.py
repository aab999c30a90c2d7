"""Folding of overlapping patches as a transposed convolution: TensorRT reads no `Col2Im`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

FOLD = (F.fold, torch.ops.aten.col2im.default)
_NAMES = ("input", "output_size", "kernel_size", "dilation", "padding", "stride")
_DEFAULTS = {"dilation": 1, "padding": 0, "stride": 1}


class FoldAsConvolution(TorchFunctionMode):
    """Within it, `fold` of `[B, C * kh * kw, L]` runs as the transposed convolution of each channel that it equals.

    Each position of the kernel has an input channel, whose weight is one at that position and zero elsewhere.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func not in FOLD:
            return func(*args, **kwargs)
        return _folded(**{**_DEFAULTS, **dict(zip(_NAMES, args, strict=False)), **kwargs})


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


def _pair(value: int | Sequence[int]) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)
