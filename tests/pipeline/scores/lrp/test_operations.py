"""Each operation under the rules: it computes what it computed, and passes relevance on as its kind does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from secateur.pipeline.scores.lrp.attention import taylor
from secateur.pipeline.scores.lrp.operations import TABLE, Function


class Rules(TorchFunctionMode):
    """Looks operations up in the table; layers with weights keep their own gradient."""

    softmax = staticmethod(taylor)

    def __torch_function__(self, func: Function, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        step = TABLE.get(func)
        return step(self, func, args, kwargs or {}) if step else func(*args, **(kwargs or {}))

    def weighted(self, func: Function, args: Any, kwargs: Any) -> Tensor:
        """A layer."""
        return func(*args, **kwargs)  # type: ignore[no-any-return]  # torch's functions are untyped

    normalised = weighted


def inputs(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape))).double()


SMOOTH: list[Callable[[Tensor], Tensor]] = [
    *(F.gelu, F.silu, F.mish, F.hardswish, F.elu, F.softplus, F.sigmoid, F.tanh, torch.sigmoid, torch.tanh),
    *(lambda x: F.silu(x, inplace=True), lambda x: F.hardtanh(x, -0.5, 0.5), lambda x: x.clamp(-0.5, 0.5)),
    *(lambda x: F.gelu(x, approximate="tanh"), lambda x: x.sigmoid(), lambda x: x.clamp_(-0.5, 0.5)),
    *(lambda x: F.relu(x), lambda x: F.relu(x, inplace=True), lambda x: x.relu()),
]


@pytest.mark.parametrize("number", range(len(SMOOTH)))
def test_activations_pass_relevance_through(number: int) -> None:
    function, x = SMOOTH[number], inputs(3, 5)
    expected = function(x.clone())
    given = x.clone().requires_grad_()
    with Rules():
        y = function(given)
    torch.testing.assert_close(y, expected)
    assert torch.equal(given, x)  # never in place
    upper = inputs(3, 5)
    (g,) = torch.autograd.grad(y, given, torch.where(expected == 0, 0, upper / expected))
    torch.testing.assert_close(x * g, torch.where(expected == 0, 0, upper))


PRODUCTS: list[Callable[[Tensor, Tensor], Tensor]] = [
    *(lambda a, b: a @ b.mT, lambda a, b: torch.matmul(a, b.mT), lambda a, b: torch.bmm(a, b.mT)),
    *(lambda a, b: torch.einsum("bnc,bmc->bnm", a, b), lambda a, b: a * b, lambda a, b: torch.mul(a, other=b)),
    lambda a, b: a.clone().mul_(b),
]


@pytest.mark.parametrize("number", range(len(PRODUCTS)))
def test_products_share_relevance_by_half(number: int) -> None:
    product = PRODUCTS[number]
    a, b = (inputs(2, 3, 4) + shift for shift in (0.1, 0.3))
    expected = product(a, b)
    a.requires_grad_(), b.requires_grad_()
    with Rules():
        y = product(a, b)
    torch.testing.assert_close(y, expected)
    upper = torch.ones_like(expected)
    grads = torch.autograd.grad(y, (a, b), upper / expected)
    for factor, gradient in zip((a, b), grads, strict=True):
        torch.testing.assert_close((factor * gradient).sum(), upper.sum() / 2)


CONSTANTS: list[tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = [
    (lambda x, y: x / y, lambda x, y: x / y.detach()),
    (lambda x, y: torch.div(x, other=y), lambda x, y: x / y.detach()),
    (lambda x, y: x.clone().div_(y), lambda x, y: x / y.detach()),
    (lambda x, y: x + y.abs().rsqrt(), lambda x, y: x + y.abs().rsqrt().detach()),
    (lambda x, y: x + y.reciprocal(), lambda x, y: x + y.reciprocal().detach()),
    (lambda x, y: F.normalize(x, dim=1) + 0 * y, lambda x, y: x / x.detach().norm(dim=1, keepdim=True) + 0 * y),
    (lambda x, y: x.clone().add_(y), lambda x, y: x + y),
    (lambda x, y: x.clone().sub_(y, alpha=2), lambda x, y: x - 2 * y),
]


@pytest.mark.parametrize("number", range(len(CONSTANTS)))
def test_denominators_count_as_constants_and_sums_keep_their_gradient(number: int) -> None:
    written, meant = CONSTANTS[number]
    found = []
    for function, mode in ((written, Rules()), (meant, None)):
        x, y = inputs(3, 4).requires_grad_(), (inputs(3, 4) + 2).requires_grad_()
        if mode is None:
            out = function(x, y)
        else:
            with mode:
                out = function(x, y)
        found.append((out.detach(), *torch.autograd.grad(out, (x, y), inputs(3, 4), allow_unused=True)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(torch.zeros(()) if one is None else one, torch.zeros(()) if other is None else other)


def test_rounded_quotients_stay_rounded() -> None:
    with Rules():
        assert torch.div(torch.tensor([7.0]), 2, rounding_mode="floor").item() == 3.0


NORMS: list[tuple[Callable[[Tensor, Tensor, Tensor], Tensor], tuple[int, ...]]] = [
    (lambda x, w, b: F.layer_norm(x, (6,), w, b), (2,)),
    (lambda x, w, b: F.layer_norm(x, (6,), eps=1e-3), (2,)),
    (lambda x, w, b: F.group_norm(x.mT, 2, w, b).mT, ()),
    (lambda x, w, b: F.rms_norm(x, (6,), w, 1e-6), ()),
]


@pytest.mark.parametrize("number", range(len(NORMS)))
def test_normalisations_divide_by_a_constant(number: int) -> None:
    """Their gradient is that of the same values with the standard deviation detached: linear in x less its mean."""
    function, _ = NORMS[number]
    x, w, b = inputs(2, 4, 6).requires_grad_(), inputs(6), torch.zeros(6).double()
    expected = function(x.detach(), w, b)
    with Rules():
        y = function(x, w, b)
    torch.testing.assert_close(y, expected)
    (g,) = torch.autograd.grad(y, x, torch.ones_like(y))
    torch.testing.assert_close((x * g).sum(), y.sum())  # homogeneous of degree one: the values themselves


def test_a_softmax_goes_by_the_modes_rule_and_others_are_left_alone() -> None:
    x = inputs(2, 5).requires_grad_()
    rules = Rules()
    rules.softmax = lambda values, dim: values.detach().softmax(dim)  # type: ignore[method-assign]  # a rule of the test
    with rules:
        assert not F.softmax(x, dim=-1).requires_grad
        assert not x.softmax(-1).requires_grad
        assert torch.softmax(x, -1, dtype=torch.float32).dtype == torch.float32
        assert x.exp().requires_grad
        torch.testing.assert_close(F.softmax(x.detach(), -1), x.detach().softmax(-1))
