"""The epsilon rule."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from secateur.pipeline.scores.lrp.rules import STABILISER, Layer, rule


@rule("epsilon")
def epsilon(layer: Layer, x: Tensor, *, epsilon: float = STABILISER) -> Tensor:
    """R_i = sum_j x_i w_ij / (z_j + epsilon sign z_j) R_j: a gradient damped where the output is near zero.

    Bach et al., 2015, eq. 58. With epsilon = 0 it is gradient x input.
    """
    z = layer(x)
    return _Damp.apply(z, epsilon) if epsilon else z


class _Damp(torch.autograd.Function):
    """Multiplies the gradient by `z / (z + epsilon sign z) = |z| / (|z| + epsilon)`."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, epsilon: float) -> Tensor:
        ctx.epsilon = epsilon
        ctx.save_for_backward(z)
        return z.view_as(z)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (z,) = ctx.saved_tensors
        return gradient.addcdiv(gradient, z.abs().add_(ctx.epsilon), value=-ctx.epsilon), None
