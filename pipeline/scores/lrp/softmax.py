"""The relevance rules of the softmax: Taylor (AttnLRP), z-plus, and none at all (CP-LRP)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from secateur.pipeline.scores.lrp.rules import stabilised


def taylor(x: Tensor, dim: int) -> Tensor:
    """R_i = x_i (R_i^s - s_i sum_j R_j^s): the plain gradient, times the input.

    AttnLRP (Achtibat et al., 2024, arXiv 2402.05602, prop. 3.1); what the expansion's bias holds is absorbed.
    """
    return x.softmax(dim)


def z_plus(x: Tensor, dim: int) -> Tensor:
    """R_i = sum_j c_ij^+ / (sum_i' c_i'j^+ + b_j^+) R_j^s, with the terms c_ij = x_i ds_j/dx_i and their bias b_j.

    The z-plus variant of AttnLRP's softmax rule in Pruning by eXplaining (Hatefi et al., 2024, arXiv 2408.12568).
    Written without the Jacobian: of its entries s_j (delta_ij - s_i), only the diagonal is positive, so that the sums
    split by the sign of x_i; linear in the number of tokens, where the definition is quadratic.
    """
    out: Tensor = _PositiveSoftmax.apply(x, dim)
    return out


def detached(x: Tensor, dim: int) -> Tensor:
    """The softmax as a constant: no relevance reaches queries and keys.

    CP-LRP (Ali et al., 2022, arXiv 2202.07304).
    """
    return x.detach().softmax(dim)


SOFTMAX_RULES: dict[str, Callable[[Tensor, int], Tensor]] = {
    "attnlrp": taylor,
    "attnlrp_z_plus": z_plus,
    "cp": detached,
}


class _PositiveSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int) -> Tensor:
        s = x.softmax(dim)
        ctx.dim = dim
        ctx.save_for_backward(x, s)
        return s

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, s = ctx.saved_tensors
        x = torch.where(s > 0, x, 0)  # masked positions (-inf) take no part
        dim = ctx.dim
        negative = x.clamp(max=0).neg() * s
        others = negative.sum(dim, keepdim=True) - negative
        own = x.clamp(min=0) * (1 - s)
        bias = (1 - x + (x * s).sum(dim, keepdim=True)).clamp(min=0)
        # the denominator holds a factor s_j that cancels against one of R_j^s = s_j dF/ds_j
        shares = s * gradient / stabilised(others + own + bias)
        rest = shares.sum(dim, keepdim=True) - shares
        return torch.where(x >= 0, (1 - s) * shares, -s * rest), None
