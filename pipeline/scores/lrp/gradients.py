"""Operations whose backward pass is a relevance rule: gradient x input is then the relevance of every tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def identity(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`function(x)`, an activation whose relevance passes through: R_i = R_j (AttnLRP, eq. 9)."""
    out: Tensor = _Identity.apply(x, function)
    return out


def scaled(x: Tensor, by: float) -> Tensor:
    """The values of `x`; its gradient is `by` times as large, as for one of several factors of a product."""
    out: Tensor = _Scaled.apply(x, by)
    return out


def shared(function: Callable[..., Tensor], *factors: Tensor) -> Tensor:
    """`function(*factors)`, a product whose relevance is shared equally by the factors that depend on the input.

    The uniform rule of AttnLRP (Achtibat et al., 2024, arXiv 2402.05602, prop. 3.3).
    """
    count = sum(factor.requires_grad for factor in factors)
    if count > 1:
        factors = tuple(scaled(factor, 1 / count) if factor.requires_grad else factor for factor in factors)
    return function(*factors)


def standardised(x: Tensor, dims: tuple[int, ...], eps: float, centred: bool = True) -> Tensor:
    """`x` less its mean over `dims` (if `centred`), divided by a standard deviation that counts as a constant.

    LayerNorm's rule of Ali et al., 2022 (arXiv 2202.07304, eq. 9).
    """
    if centred:
        x = x - x.mean(dims, keepdim=True)
    return x * (x.detach().square().mean(dims, keepdim=True) + eps).rsqrt()


def layer_normalised(
    x: Tensor, shape: tuple[int, ...], weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """`standardised` over the last dimensions, times `weight` plus `bias`, by the fused kernel.

    Only the standard deviations are kept for the backward pass.
    """
    out: Tensor = _LayerNorm.apply(x, shape, weight, bias, eps)
    return out


class _LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, shape: tuple[int, ...], weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> Tensor:
        out, _, inverse = torch.native_layer_norm(x, shape, weight, bias, eps)
        ctx.dims = tuple(range(-len(shape), 0))
        ctx.save_for_backward(inverse, weight)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inverse, weight = ctx.saved_tensors
        found = gradient * inverse if weight is None else gradient * weight * inverse
        return found - found.mean(ctx.dims, keepdim=True), None, None, None, None


class _Identity(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        y = function(x)
        ctx.save_for_backward((y / x).nan_to_num_(0, 0, 0))  # where x = 0 there is no relevance to pass on
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (ratio,) = ctx.saved_tensors
        return gradient * ratio, None


class _Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, by: float) -> Tensor:
        ctx.by = by
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return gradient * ctx.by, None
