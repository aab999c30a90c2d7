"""The gamma rule, for inputs of both signs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from secateur.pipeline.scores.lrp.rules import Layer, rule, stabilised


@rule("gamma")
def gamma(layer: Layer, x: Tensor, *, gamma: float = 0.25) -> Tensor:
    """R_i = sum_j (c_ij + gamma c_ij^s) / sum_i' (c_i'j + gamma c_i'j^s) R_j, with s the sign of the output z_j.

    `c_ij = x_i w_ij`: the contributions that agree in sign with the output count 1 + gamma times (Montavon et al.,
    2019, sec. 10.2.3; generalised to inputs of both signs in Andéol et al., 2021).
    """
    z = layer(x)
    positive = layer.positive(x)
    # with z = positive + negative, the two denominators need only one more product each
    above, below = z + gamma * positive, z + gamma * (z - positive)
    return _BySign.apply(z.detach(), above, below)  # type: ignore[no-any-return]  # torch does not annotate it


class _BySign(torch.autograd.Function):
    """The values `z`; their relevance goes to `above` where they are positive, to `below` where negative."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, above: Tensor, below: Tensor) -> Tensor:
        ctx.save_for_backward(z, above, below)
        return z.view_as(z)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        z, above, below = ctx.saved_tensors
        relevance = z * gradient
        return (
            None,
            torch.where(z > 0, relevance / stabilised(above), 0),
            torch.where(z < 0, relevance / stabilised(below), 0),
        )
