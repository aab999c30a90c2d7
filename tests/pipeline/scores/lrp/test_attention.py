"""Attention: the softmax rules against their definitions with the full Jacobian, and the fused function against
attention taken apart."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from secateur.pipeline.scores.lrp.attention import (
    SOFTMAX_RULES,
    Softmax,
    detached,
    scaled_dot_product,
    taylor,
    z_plus,
)


def through(rule: Softmax, x: Tensor, upper: Tensor) -> Tensor:
    """R of the logits when the probabilities' relevance is `upper`."""
    x = x.clone().requires_grad_()
    s = rule(x, -1)
    (gradient,) = torch.autograd.grad(s, x, upper / s.detach())
    return (x * gradient).detach()


@given(seed=st.integers(0, 10_000), tokens=st.integers(1, 7))
@settings(max_examples=20, deadline=None)
def test_the_taylor_rule(seed: int, tokens: int) -> None:
    torch.manual_seed(seed)
    x, upper = torch.randn(tokens).double(), torch.randn(tokens).double()
    s = x.softmax(0)
    expected = torch.stack([x[i] * (upper[i] - s[i] * upper.sum()) for i in range(tokens)])
    torch.testing.assert_close(through(taylor, x, upper), expected)


@given(seed=st.integers(0, 10_000), tokens=st.integers(2, 7))
@settings(max_examples=20, deadline=None)
def test_the_z_plus_rule(seed: int, tokens: int) -> None:
    torch.manual_seed(seed)
    x, upper = 2 * torch.randn(tokens).double(), torch.randn(tokens).double()
    s = x.softmax(0)
    jacobian = torch.diag(s) - s[:, None] * s[None, :]
    terms = x[:, None] * jacobian  # [i, j]
    bias = (s - terms.sum(0)).clamp(min=0)
    positive = terms.clamp(min=0)
    expected = (positive * (upper / (positive.sum(0) + bias))[None, :]).sum(1)
    torch.testing.assert_close(through(z_plus, x, upper), expected, rtol=1e-4, atol=1e-8)


def test_masked_positions_get_nothing() -> None:
    x = torch.tensor([1.0, -float("inf"), -0.5], requires_grad=True)
    for rule in (taylor, z_plus):
        (gradient,) = torch.autograd.grad(rule(x, -1), x, torch.tensor([1.0, 2.0, 3.0]))
        assert torch.isfinite(gradient).all()
        assert gradient[1] == 0


def test_cp_lets_nothing_through() -> None:
    assert not detached(torch.randn(3, requires_grad=True), -1).requires_grad
    assert set(SOFTMAX_RULES) == {"attnlrp", "attnlrp_z_plus", "cp"}


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
