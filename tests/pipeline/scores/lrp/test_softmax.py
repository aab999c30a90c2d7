"""The softmax rules against their definitions with the full Jacobian."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from secateur.pipeline.scores.lrp.softmax import SOFTMAX_RULES, detached, taylor, z_plus


def through(rule: object, x: Tensor, upper: Tensor) -> Tensor:
    """R of the logits when the probabilities' relevance is `upper`."""
    x = x.clone().requires_grad_()
    s = rule(x, -1)  # type: ignore[operator]  # the rules are plain functions
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
