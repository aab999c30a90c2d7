"""Attention by the fused function has the values and the gradients of attention taken apart."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from secateur.pipeline.scores.lrp.attention import Softmax, scaled_dot_product
from secateur.pipeline.scores.lrp.softmax import detached, taylor


def both(rule: Softmax, asking: tuple[bool, ...], **options: object) -> list[tuple[Tensor, list[Tensor | None]]]:
    """Output and gradients for the rule itself, and for a rule that the fused path does not know."""
    found = []
    for softmax in (rule, lambda x, dim: rule(x, dim)):
        generator = torch.Generator().manual_seed(0)
        factors = [torch.randn(2, 3, 5, 4, generator=generator).double().requires_grad_(asks) for asks in asking]
        out = scaled_dot_product(softmax, *factors, **options)  # type: ignore[arg-type]  # by name
        upper = torch.randn(out.shape, generator=generator).double()
        wanted = [factor for factor in factors if factor.requires_grad]
        if out.requires_grad:
            gradients = torch.autograd.grad(out, wanted, upper, allow_unused=True)
        found.append((out.detach(), list(gradients) if out.requires_grad else []))
    return found


@pytest.mark.parametrize("rule", [taylor, detached])
@pytest.mark.parametrize("asking", list(product([True, False], repeat=3)))
def test_shares_reach_the_factors_that_depend_on_the_input(rule: Softmax, asking: tuple[bool, ...]) -> None:
    fused, apart = both(rule, asking)
    torch.testing.assert_close(fused[0], apart[0])
    for one, other in zip(fused[1], apart[1], strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize("rule", [taylor, detached])
@pytest.mark.parametrize(
    "options",
    [
        {"is_causal": True},
        {"scale": 0.3},
        {"attn_mask": torch.eye(5).bool()},
        {"attn_mask": torch.linspace(-1, 1, 25).reshape(5, 5).double()},
        {"attn_mask": torch.ones(5, 5).double().requires_grad_()},
    ],
    ids=["causal", "scale", "allowed", "added", "learned"],
)
def test_masks_and_scale_count(rule: Softmax, options: dict[str, object]) -> None:
    fused, apart = both(rule, (True, True, True), **options)
    torch.testing.assert_close(fused[0], apart[0])
    for one, other in zip(fused[1], apart[1], strict=True):
        torch.testing.assert_close(one, other)
