"""Attention under the relevance rules: the rules of its softmax, and fused attention taken apart for them.

The softmax has a Taylor rule (AttnLRP), a z-plus rule, and none at all (CP-LRP).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from secateur.pipeline.scores.lrp.gradients import scaled, shared
from secateur.pipeline.scores.lrp.rules import stabilised

Softmax = Callable[[Tensor, int], Tensor]


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


SOFTMAX_RULES: dict[str, Softmax] = {
    "attnlrp": taylor,
    "attnlrp_z_plus": z_plus,
    "cp": detached,
}


def scaled_dot_product(
    softmax: Softmax,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """What `F.scaled_dot_product_attention` computes in evaluation mode, `[..., N, E]` in and out.

    Two of the softmax rules keep the gradient of the softmax, or stop it: then the fused function serves, with the
    shares of its two products applied to what goes in. It saves the time and the memory of the attention matrices.
    """
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
        value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    if softmax is detached:
        out: Tensor = _Constant.apply(query.detach(), key.detach(), value, attn_mask, is_causal, scale)
        return out
    if softmax is taylor and not (attn_mask is not None and attn_mask.requires_grad):
        query, key, value = _shares(query, key, value)
        return F.scaled_dot_product_attention(query, key, value, attn_mask, is_causal=is_causal, scale=scale)
    return shared(torch.matmul, softmax(_logits(query, key, attn_mask, is_causal, scale), -1), value)


def _logits(query: Tensor, key: Tensor, mask: Tensor | None, is_causal: bool, scale: float) -> Tensor:
    """What the softmax reads, `[..., N, N]`."""
    logits = shared(torch.matmul, query * scale, key.transpose(-2, -1))
    if is_causal:
        logits = logits.masked_fill(logits.new_ones(logits.shape[-2:]).triu(1).bool(), -math.inf)
    if mask is not None:
        logits = logits.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else logits + mask
    return logits


class _Constant(torch.autograd.Function):
    """Attention whose weights are constants; they are computed again rather than kept for the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, is_causal: bool, scale: float
    ) -> Tensor:
        ctx.save_for_backward(query, key, mask)
        ctx.is_causal, ctx.scale = is_causal, scale
        return F.scaled_dot_product_attention(query, key, value, mask, is_causal=is_causal, scale=scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, mask = ctx.saved_tensors
        weights = _logits(query, key, mask, ctx.is_causal, ctx.scale).softmax(-1)
        return None, None, weights.transpose(-2, -1) @ gradient, None, None, None


def _shares(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same values, whose gradients are the shares that two products in a row leave them (see `shared`)."""
    inner = query.requires_grad + key.requires_grad
    outer = (inner > 0) + value.requires_grad
    by = (inner * outer, inner * outer, outer)
    found = [scaled(x, 1 / n) if x.requires_grad and n > 1 else x for x, n in zip((query, key, value), by, strict=True)]
    return found[0], found[1], found[2]


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
