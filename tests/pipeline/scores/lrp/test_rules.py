"""Every registered rule against a slow reference from its equation, in loops over inputs and outputs."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from secateur.core.errors import PlanError
from secateur.pipeline.scores.lrp.rules import RULES, AffineMap, rule


def stable(z: float, by: float = 1e-6) -> float:
    return z + by if z >= 0 else z - by


def slow(name: str, x: Tensor, w: Tensor, b: Tensor, relevance: Tensor, **p: float) -> Tensor:
    """R_i of one linear layer `[inputs]`, each share c_ij / sum c_ij' computed on its own."""
    out = torch.zeros_like(x)
    for j in range(len(w)):
        c = [float(x[i] * w[j, i]) for i in range(len(x))]
        bias = float(b[j])
        z = sum(c) + bias
        positive = sum(max(v, 0.0) for v in c) + max(bias, 0.0)
        negative = sum(min(v, 0.0) for v in c) + min(bias, 0.0)
        for i, v in enumerate(c):
            r = float(relevance[j])
            if name == "epsilon":
                out[i] += v / stable(z, p["epsilon"]) * r
            elif name == "z_plus":
                out[i] += max(v, 0.0) / stable(positive) * r
            elif name == "alpha_beta":
                out[i] += (p["alpha"] * max(v, 0.0) / stable(positive) - p["beta"] * min(v, 0.0) / stable(negative)) * r
            elif name == "gamma":
                agrees = max(v, 0.0) if z > 0 else min(v, 0.0)
                total = z + p["gamma"] * (positive if z > 0 else negative)
                out[i] += (v + p["gamma"] * agrees) / stable(total) * r
            else:
                raise AssertionError(f"the rule {name} has no reference here: write one")
    return out


def relevance_by(name: str, layer: AffineMap, x: Tensor, upper: Tensor, **parameters: float) -> Tensor:
    """R of the inputs when the outputs' relevance is `upper`, through the rule's backward pass."""
    x = x.clone().requires_grad_()
    y = RULES.find(name)(**parameters)(layer, x)
    (gradient,) = torch.autograd.grad(y, x, upper / y.detach())
    return (x * gradient).detach()


@pytest.mark.parametrize("name", RULES.names())
@given(seed=st.integers(0, 10_000), inputs=st.integers(1, 6), outputs=st.integers(1, 5), above=st.booleans())
@settings(max_examples=15, deadline=None)
def test_a_rule_is_its_equation(name: str, seed: int, inputs: int, outputs: int, above: bool) -> None:
    torch.manual_seed(seed)
    x, w, b = torch.randn(inputs).double(), torch.randn(outputs, inputs).double(), torch.randn(outputs).double()
    x = x.abs() if above else x
    upper = torch.randn(outputs).double()
    parameters = RULES.find(name)().parameters
    layer = AffineMap(F.linear, w, b)
    found = relevance_by(name, layer, x[None], upper[None], **parameters)[0]
    torch.testing.assert_close(found, slow(name, x, w, b, upper, **parameters), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", RULES.names())
@pytest.mark.parametrize("groups", [1, 2])
def test_a_convolution_is_the_linear_layer_that_it_stands_for(name: str, groups: int) -> None:
    torch.manual_seed(1)
    weight, bias = torch.randn(6, 4 // groups, 3, 3).double(), torch.randn(6).double()
    x = torch.randn(1, 4, 5, 5).double()

    def convolve(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        return F.conv2d(x, w, b, stride=2, padding=1, groups=groups)

    y = convolve(x, weight, bias)
    matrix = torch.autograd.functional.jacobian(lambda v: convolve(v, weight, None), x).reshape(y.numel(), x.numel())
    upper = torch.randn_like(y)
    found = relevance_by(name, AffineMap(convolve, weight, bias), x, upper)
    flat_bias = bias[:, None].expand(6, y[0, 0].numel()).flatten()
    linear = relevance_by(name, AffineMap(F.linear, matrix, flat_bias), x.reshape(1, -1), upper.reshape(1, -1))
    torch.testing.assert_close(found.flatten(), linear.flatten(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", RULES.names())
def test_relevance_is_conserved_where_no_bias_takes_it(name: str) -> None:
    torch.manual_seed(2)
    x, w, upper = torch.randn(3, 20).double(), torch.randn(7, 20).double(), torch.rand(3, 7).double()
    found = relevance_by(name, AffineMap(F.linear, w), x, upper)
    torch.testing.assert_close(found.sum(1), upper.sum(1), rtol=1e-5, atol=1e-6)


def test_a_bias_takes_its_share() -> None:
    x, w, b = torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 2.0]]), torch.tensor([1.0])
    assert relevance_by("epsilon", AffineMap(F.linear, w, b), x, torch.ones(1, 1)).sum().item() == pytest.approx(3 / 4)


def test_bad_rules_are_refused() -> None:
    with pytest.raises(PlanError, match="did you mean 'gamma'"):
        RULES.find("gama")
    with pytest.raises(PlanError, match="alpha - beta = 1"):
        RULES.find("alpha_beta")(alpha=2.0, beta=0.5)
    with pytest.raises(ValueError, match="registered twice"):
        rule("gamma")(RULES.find("gamma"))
