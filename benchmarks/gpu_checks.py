"""Every kernel at every tile size against float64, on the GPU: what has to hold before its times count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor

from secateur.core.errors import SecateurError
from secateur.kernels import on_gpu, portable
from secateur.kernels.heads import HeadLayout
from secateur.kernels.variants import RAGGED_TILES, SHORT_BEFORE, DeviceLimits

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
LIMITS = {"fp32": 1e-5, "fp16": 2e-3, "bf16": 1.6e-2}
"""The largest `||out - reference|| / ||reference||` of each type: float32 sums, operands rounded to 11 or 8 bits."""

NOT_FINITE = "elements of the output were not written, or are not finite"
TOKENS = (1, 17, 64, 65, 197, 1024)
FAILURES = (RuntimeError, SecateurError)
"""What a launch or a library's kernel raises: the driver's errors, memory that is not there, our own refusals."""


@dataclass(frozen=True)
class Check:
    """One comparison: `error` is relative, in the 2-norm; `failure` says why there is none.

    The outputs were NaN before the launch, so that an element which is not written is a failure.
    """

    kernel: str
    dtype: str
    shape: str
    error: float | None
    failure: str = ""

    @property
    def passed(self) -> bool:
        """Whether there is an error within the type's limit."""
        return self.error is not None and self.error < LIMITS[self.dtype]


def run_checks(limits: DeviceLimits, device: str = "cuda") -> Iterator[Check]:
    """All checks on the current GPU, one after the other; one that raises does not end them."""
    for dtype in DTYPES:
        yield from _ragged(dtype, limits, device)
        yield from _window(dtype, device)
        yield from _rows(dtype, device)


def reason_of(error: Exception) -> str:
    """An exception as one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _ragged(dtype: str, limits: DeviceLimits, device: str) -> Iterator[Check]:
    for tile in RAGGED_TILES:
        cores = dtype != "fp32" and limits.capability >= 80
        if tile.short and limits.capability >= SHORT_BEFORE:
            continue
        if tile.tensor_cores > cores or tile.shared_bytes > limits.shared_bytes_per_block:
            continue
        wide = tile.widest
        for layout in (
            HeadLayout((wide, 8, wide // 2), (8, wide, 24), 0.2),
            HeadLayout((7, wide - 3), (wide - 1, 5), 0.2),
        ):
            for tokens in (n for n in TOKENS if not tile.short or n <= tile.most_tokens):
                qkv = _drawn(2, tokens, layout.row_width, dtype=dtype, device=device)
                extras = {
                    "qkv_bias": _drawn(layout.row_width, dtype=dtype, device=device),
                    "bias": _drawn(layout.heads, tokens, tokens, dtype=dtype, device=device),
                }
                for given, parts in product(({}, extras), tile.parts):
                    yield from _compared(
                        (f"ragged_attention{tile.suffix}" + (" with bias" if given else ""),),
                        f"2 x {tokens}, {layout.qk_dims} {layout.v_dims}, blocks a head: {parts}",
                        partial(on_gpu.ragged_attention, tile=tile, parts=parts),
                        portable.ragged_attention,
                        (_poisoned(qkv, 2, tokens, layout.out_width),),
                        qkv, layout, **given,
                    )  # fmt: skip


def _window(dtype: str, device: str) -> Iterator[Check]:
    for layout in (HeadLayout((32, 16), (24, 32), 0.2), HeadLayout((96, 9), (11, 128), 0.2)):
        for shift in ((0, 0), (3, 3)):
            qkv = _drawn(2, 14, 21, layout.row_width, dtype=dtype, device=device)
            bias = _drawn(layout.heads, 49, 49, dtype=dtype, device=device)
            yield from _compared(
                ("window_attention",),
                f"2 x 14 x 21, shift {shift}",
                on_gpu.window_attention,
                portable.window_attention,
                (_poisoned(qkv, 2, 14, 21, layout.out_width),),
                qkv, layout, (7, 7), shift, None, bias,
            )  # fmt: skip


def _rows(dtype: str, device: str) -> Iterator[Check]:
    for width in (1, 376, 383, 384, 1536):
        x, branch = (_drawn(197, width, dtype=dtype, device=device) for _ in range(2))
        scale, weight, bias = (_drawn(width, dtype=dtype, device=device) for _ in range(3))
        outs = [_poisoned(x, 197, width) for _ in range(3)]
        yield from _compared(
            ("residual_layernorm, sum", "residual_layernorm, normed"),
            f"197 x {width}",
            on_gpu.residual_layernorm,
            portable.residual_layernorm,
            (outs[0], outs[1]),
            x, branch, scale, weight, bias, 1e-3,
        )  # fmt: skip
        yield from _compared(
            ("bias_gelu",), f"197 x {width}", on_gpu.bias_gelu, portable.bias_gelu, (outs[2],), x, bias
        )


def _compared(
    names: tuple[str, ...],
    shape: str,
    ours: Callable[..., Any],
    reference: Callable[..., Any],
    outs: tuple[Tensor, ...],
    *arguments: Any,
    **options: Any,
) -> Iterator[Check]:
    """A check for each result of one launch, which writes `outs`; the reference gets the same tensors in float64."""
    dtype = next(name for name, kind in DTYPES.items() if kind == outs[0].dtype)
    try:
        ours(*arguments, **options, out=outs if len(outs) > 1 else outs[0])
        expected = reference(*map(_wide, arguments), **{name: _wide(value) for name, value in options.items()})
        results = expected if len(outs) > 1 else (expected,)
        errors = [_error(out, result) for out, result in zip(outs, results, strict=True)]
    except FAILURES as failure:
        yield from (Check(name, dtype, shape, None, reason_of(failure)) for name in names)
        return
    for name, error in zip(names, errors, strict=True):
        yield Check(name, dtype, shape, error, "" if error is not None else NOT_FINITE)


def _wide(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) else value


def _drawn(*shape: int, dtype: str, device: str) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator).to(device, DTYPES[dtype])


def _poisoned(like: Tensor, *shape: int) -> Tensor:
    """An output that is NaN wherever a kernel does not write it."""
    return like.new_full(shape, float("nan"))


def _error(out: Tensor, expected: Tensor) -> float | None:
    """The relative error in the 2-norm; None where an element is not finite."""
    wide = out.double()
    if not bool(wide.isfinite().all()):
        return None
    return float((wide - expected).norm() / expected.norm().clamp_min(1e-30))
