"""Pulled ridge regression, against gradient-free least squares on explicit rows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from secateur.pipeline.recover.stream_fit import choose, error_of, pulled
from secateur.pipeline.statistics.moments import Moments


def moments_of(rows: Tensor, weights: Tensor | None = None) -> Moments:
    found = Moments.empty(rows.shape[1], rows.device)
    found.add(rows, weights)
    return found


def sample(count: int = 40, d: int = 5, out: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    h = torch.randn(count, d, generator=generator).double() + 0.7
    return h, torch.randn(count, out, generator=generator).double() + 0.3


def stacked(h: Tensor, t: Tensor, weight: Tensor, ridge: float, bias: bool) -> tuple[Tensor, Tensor]:
    """The solution by least squares on rows, the penalty being rows of their own."""
    centre = h.mean(0) if bias else torch.zeros(h.shape[1]).double()
    strength = (ridge * len(h) * (h - centre).square().mean(0).mean()).sqrt()
    design = torch.cat([h, torch.ones(len(h), 1).double() * bias], dim=1)
    extra = torch.cat([strength * torch.eye(h.shape[1]).double(), torch.zeros(h.shape[1], 1).double()], dim=1)
    goal = torch.cat([t, strength * weight.T])
    solution = torch.linalg.lstsq(torch.cat([design, extra]), goal, driver="gelsd").solution
    return solution[:-1].T, solution[-1]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("ridge", [1e-3, 1.0, 100.0])
def test_it_is_least_squares_with_a_penalty_on_the_change(ridge: float, bias: bool) -> None:
    (h, t), weight = sample(), torch.randn(3, 5).double()
    found, shift = pulled(weight, torch.zeros(3).double() if bias else None, moments_of(torch.cat([h, t], 1)), ridge)
    expected, constant = stacked(h, t, weight, ridge, bias)
    torch.testing.assert_close(found, expected)
    if shift is not None:
        torch.testing.assert_close(shift, constant)
    assert (shift is None) != bias


@pytest.mark.parametrize("bias", [torch.randn(3).double(), None])
def test_the_error_is_that_of_the_rows_with_their_weights(bias: Tensor | None) -> None:
    (h, t), weight = sample(), torch.randn(3, 5).double()
    weights = torch.rand(40).double()
    gaps = (t - h @ weight.T - (0 if bias is None else bias)).square().sum(1)
    found = error_of(weight, bias, moments_of(torch.cat([h, t], 1), weights))
    assert found == pytest.approx(((gaps * weights).sum() / weights.sum()).item())


def test_a_relation_that_holds_is_learned_and_one_that_does_not_is_not() -> None:
    h, noise = sample(400)
    true, there = torch.randn(3, 5).double(), torch.randn(3, 5).double()
    learnt = torch.cat([h, h @ true.T + 1], dim=1)
    folds = [moments_of(learnt[:200]), moments_of(learnt[200:])]
    found = choose(there, torch.zeros(3).double(), folds, (1e-6, 1.0))
    assert found.ridge == 1e-6
    assert found.error_after < 1e-6 * found.error_before
    torch.testing.assert_close(found.weight, true, rtol=1e-3, atol=1e-3)
    small = [moments_of(torch.cat([h, noise], 1)[place : place + 7]) for place in (0, 7)]
    zeros = torch.zeros(3, 5).double()
    kept = choose(zeros, noise.mean(0), small, (1e-9,))
    assert kept.ridge is None
    assert kept.error_after == kept.error_before
    assert kept.weight is zeros


def test_a_strong_pull_leaves_what_is_there() -> None:
    (h, t), weight = sample(), torch.randn(3, 5).double()
    found, _ = pulled(weight, torch.zeros(3).double(), moments_of(torch.cat([h, t], 1)), 1e9)
    torch.testing.assert_close(found, weight, rtol=1e-6, atol=1e-6)
