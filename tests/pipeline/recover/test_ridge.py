"""Folding: against scikit-learn's ridge regression, and its error against the rows themselves."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from torch import Tensor

from secateur.pipeline.recover.ridge import Folded, cross_validated, error_of, fold, summed, unrepaired
from secateur.pipeline.statistics.moments import Moments


def moments_of(x: Tensor) -> Moments:
    found = Moments.empty(x.shape[1], x.device)
    found.add(x.double())
    return found


def rows(d: int, seed: int, count: int = 60) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(count, d, generator=generator) @ torch.randn(d, d, generator=generator) + 1.0).double()


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 12), st.integers(1, 5), st.integers(0, 999), st.sampled_from([1e-6, 1e-3, 0.1]))
def test_folding_is_a_ridge_regression_of_the_removed_on_the_kept(d: int, out: int, seed: int, ridge: float) -> None:
    x, weight = rows(d, seed), torch.randn(out, d).double()
    stays = torch.rand(d) < 0.5
    stays[0], stays[1] = True, False
    folded = fold(weight, torch.eye(d).double()[stays], moments_of(x), ridge)
    s, r = x[:, stays].numpy(), x[:, ~stays].numpy()
    strength = ridge * s.var(0).mean() * len(x)  # scikit-learn's penalty is on the sum over samples
    fit = Ridge(alpha=strength).fit(s, r)
    gone = weight[:, ~stays]
    expected = weight[:, stays] + gone @ torch.from_numpy(fit.coef_.reshape(r.shape[1], -1))
    torch.testing.assert_close(folded.weight, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(folded.shift, gone @ torch.from_numpy(fit.intercept_.reshape(-1)), rtol=1e-5, atol=1e-6)


def test_mixtures_that_span_the_rows_reconstruct_them() -> None:
    basis = torch.randn(3, 8).double()
    x = torch.randn(50, 3).double() @ basis + 2.0
    weight, encoder = torch.randn(4, 8).double(), torch.randn(5, 8).double()
    folded = fold(weight, encoder, moments_of(x), 0.0)
    torch.testing.assert_close(x @ encoder.T @ folded.weight.T + folded.shift, x @ weight.T)


def test_the_error_is_that_of_the_rows() -> None:
    x, weight, encoder = rows(6, 0), torch.randn(3, 6).double(), torch.randn(4, 6).double()
    folded = Folded(torch.randn(3, 4).double(), torch.randn(3).double())
    gap = x @ weight.T - x @ encoder.T @ folded.weight.T - folded.shift
    assert error_of(weight, encoder, folded, moments_of(x)) == pytest.approx(gap.square().sum(1).mean().item())
    none = unrepaired(weight, torch.eye(6).double()[:5])
    lost = (x[:, 5:] @ weight[:, 5:].T).square().sum(1).mean().item()
    assert error_of(weight, torch.eye(6).double()[:5], none, moments_of(x)) == pytest.approx(lost)


def test_each_fold_is_judged_by_a_fit_to_the_others() -> None:
    parts = [rows(4, seed, 20) for seed in range(3)]
    weight, encoder = torch.randn(2, 4).double(), torch.eye(4).double()[:2]
    errors = []
    for place, held_out in enumerate(parts):
        rest = torch.cat([part for other, part in enumerate(parts) if other != place])
        fitted = fold(weight, encoder, moments_of(rest), 1e-2)
        gap = held_out @ weight.T - held_out @ encoder.T @ fitted.weight.T - fitted.shift
        errors.append(gap.square().sum(1).mean().item())
    folds = [moments_of(part) for part in parts]
    found = cross_validated(lambda moments: fold(weight, encoder, moments, 1e-2), weight, encoder, folds)
    assert found == pytest.approx(sum(errors) / 3)
    torch.testing.assert_close(summed(folds).covariance, moments_of(torch.cat(parts)).covariance)


def test_nothing_kept_leaves_the_mean() -> None:
    x, weight = rows(4, 1), torch.randn(2, 4).double()
    folded = fold(weight, torch.zeros(0, 4).double(), moments_of(x), 1e-3)
    assert folded.weight.shape == (2, 0)
    torch.testing.assert_close(folded.shift, weight @ x.mean(0))
