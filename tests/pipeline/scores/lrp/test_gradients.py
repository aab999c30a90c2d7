"""Operations whose backward pass is a relevance rule: their values and what they pass on, from the definitions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from secateur.pipeline.scores.lrp.gradients import identity, layer_normalised, scaled, shared, standardised


def test_identity_and_layer_norm_rules() -> None:
    x = torch.randn(4, 6).double().requires_grad_()
    upper = torch.randn(4, 6).double()
    y = identity(F.gelu, x)
    (g,) = torch.autograd.grad(y, x, upper / y.detach())
    torch.testing.assert_close(x * g, upper)
    y = standardised(x, (-1,), 1e-6)
    torch.testing.assert_close(y, F.layer_norm(x, (6,), eps=1e-6))
    (g,) = torch.autograd.grad(y, x, upper / y.detach())
    torch.testing.assert_close((x * g).sum(1), upper.sum(1))


@pytest.mark.parametrize("shape", [(6,), (3, 6)])
@pytest.mark.parametrize("affine", [True, False])
def test_the_fused_layer_norm_has_the_gradient_of_the_written_one(shape: tuple[int, ...], affine: bool) -> None:
    x = torch.randn(4, 3, 6).double().requires_grad_()
    weight, bias = (torch.randn(shape).double() if affine else None for _ in range(2))
    fused = layer_normalised(x, shape, weight, bias, 1e-5)
    written = standardised(x, tuple(range(-len(shape), 0)), 1e-5)
    written = written * weight + bias if weight is not None and bias is not None else written
    torch.testing.assert_close(fused, written)
    upper = torch.randn(4, 3, 6).double()
    torch.testing.assert_close(*(torch.autograd.grad(y, x, upper)[0] for y in (fused, written)))


def test_where_an_input_is_zero_there_is_no_relevance_to_pass_on() -> None:
    x = torch.tensor([0.0, 1.0], requires_grad=True)
    y = identity(torch.sigmoid, x)  # 0.5 at zero
    (g,) = torch.autograd.grad(y.sum(), x)
    assert g.tolist() == [0.0, pytest.approx(torch.sigmoid(torch.tensor(1.0)).item())]


def test_a_product_is_shared_by_the_factors_that_depend_on_the_input() -> None:
    a, b = torch.randn(3, 4).double().requires_grad_(), torch.randn(4, 2).double().requires_grad_()
    y = shared(torch.matmul, a, b)
    torch.testing.assert_close(y, a @ b)
    upper = torch.randn(3, 2).double()
    relevance = [(x * g).sum() for x, g in zip((a, b), torch.autograd.grad(y, (a, b), upper / y.detach()), strict=True)]
    torch.testing.assert_close(torch.stack(relevance), torch.stack([upper.sum() / 2] * 2))
    (alone,) = torch.autograd.grad(shared(torch.matmul, a, b.detach()), a, upper / y.detach())
    torch.testing.assert_close((a * alone).sum(), upper.sum())
    assert shared(torch.matmul, a.detach(), b.detach()).requires_grad is False
    torch.testing.assert_close(torch.autograd.grad(scaled(a, 0.25).sum(), a)[0], torch.full_like(a, 0.25))
