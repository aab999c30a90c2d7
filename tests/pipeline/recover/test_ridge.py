"""Ridge regression: against scikit-learn's and against least squares on explicit rows, and its error against the rows
themselves."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from torch import Tensor

from secateur.pipeline.recover.ridge import (
    Fit,
    Pairs,
    choose,
    cross_validated,
    error_of,
    fit_towards,
    left_by,
    selected,
    summed,
)
from secateur.pipeline.statistics.moments import Moments


def moments_of(rows: Tensor, weights: Tensor | None = None) -> Moments:
    found = Moments.empty(rows.shape[1], rows.device)
    found.add(rows.double(), weights)
    return found


def rows_of(d: int, seed: int, count: int = 60) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(count, d, generator=generator) @ torch.randn(d, d, generator=generator) + 1.0).double()


def sample(count: int = 40, d: int = 5, out: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    h = torch.randn(count, d, generator=generator).double() + 0.7
    return h, torch.randn(count, out, generator=generator).double() + 0.3


def pairs_of(h: Tensor, t: Tensor, weights: Tensor | None = None) -> Pairs:
    return Pairs.of_rows(moments_of(torch.cat([h, t], 1), weights), h.shape[1])


def refitted(weight: Tensor, encoder: Tensor, x: Tensor, ridge: float) -> Fit:
    """A layer y = W x that is to say the same from E x."""
    return fit_towards(left_by(weight, encoder), Pairs.of_layer(moments_of(x), weight, encoder), ridge)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 12), st.integers(1, 5), st.integers(0, 999), st.sampled_from([1e-6, 1e-3, 0.1]))
def test_reading_less_is_a_ridge_regression_of_the_removed_on_the_kept(
    d: int, out: int, seed: int, ridge: float
) -> None:
    x, weight = rows_of(d, seed), torch.randn(out, d).double()
    stays = torch.rand(d) < 0.5
    stays[0], stays[1] = True, False
    fit = refitted(weight, torch.eye(d).double()[stays], x, ridge)
    s, r = x[:, stays].numpy(), x[:, ~stays].numpy()
    strength = ridge * s.var(0).mean() * len(x)  # scikit-learn's penalty is on the sum over samples
    solved = Ridge(alpha=strength).fit(s, r)
    gone = weight[:, ~stays]
    expected = weight[:, stays] + gone @ torch.from_numpy(solved.coef_.reshape(r.shape[1], -1))
    torch.testing.assert_close(fit.weight, expected, rtol=1e-5, atol=1e-6)
    assert fit.bias is not None
    torch.testing.assert_close(fit.bias, gone @ torch.from_numpy(solved.intercept_.reshape(-1)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("seed", [0, 2, 130])
def test_mixtures_that_span_the_rows_reconstruct_them(seed: int) -> None:
    torch.manual_seed(seed)  # with 2 and 130 rounding errors of the moments are larger than a number's own precision
    basis = torch.randn(3, 8).double()
    x = torch.randn(50, 3).double() @ basis + 2.0
    weight, encoder = torch.randn(4, 8).double(), torch.randn(5, 8).double()
    fit = refitted(weight, encoder, x, 0.0)
    assert fit.bias is not None
    torch.testing.assert_close(x @ encoder.T @ fit.weight.T + fit.bias, x @ weight.T)


@pytest.mark.parametrize("mixes", [True, False])
def test_pairs_of_a_layer_are_those_of_its_rows(mixes: bool) -> None:
    x, weight = rows_of(6, 0), torch.randn(3, 6).double()
    encoder = torch.randn(4, 6).double() if mixes else torch.eye(6).double()[[4, 0, 1, 5]]
    assert (selected(encoder) is None) == mixes
    found, expected = Pairs.of_layer(moments_of(x), weight, encoder), pairs_of(x @ encoder.T, x @ weight.T)
    for one, other in zip(vars(found).values(), vars(expected).values(), strict=True):
        torch.testing.assert_close(torch.as_tensor(one), torch.as_tensor(other))
    left = left_by(weight, encoder)
    torch.testing.assert_close(left.weight, weight @ torch.linalg.pinv(encoder))
    lost = (x @ weight.T - x @ encoder.T @ left.weight.T).square().sum(1).mean().item()
    assert error_of(left, found) == pytest.approx(lost)


def test_the_error_is_that_of_the_rows() -> None:
    x, weight, encoder = rows_of(6, 0), torch.randn(3, 6).double(), torch.randn(4, 6).double()
    fit = Fit(torch.randn(3, 4).double(), torch.randn(3).double())
    gap = x @ weight.T - x @ encoder.T @ fit.weight.T - fit.bias
    assert error_of(fit, Pairs.of_layer(moments_of(x), weight, encoder)) == pytest.approx(
        gap.square().sum(1).mean().item()
    )


@pytest.mark.parametrize("bias", [torch.randn(3).double(), None])
def test_the_error_is_that_of_the_rows_with_their_weights(bias: Tensor | None) -> None:
    (h, t), weight = sample(), torch.randn(3, 5).double()
    weights = torch.rand(40).double()
    gaps = (t - h @ weight.T - (0 if bias is None else bias)).square().sum(1)
    found = error_of(Fit(weight, bias), pairs_of(h, t, weights))
    assert found == pytest.approx(((gaps * weights).sum() / weights.sum()).item())


def test_each_fold_is_judged_by_a_fit_to_the_others() -> None:
    parts = [rows_of(4, seed, 20) for seed in range(3)]
    weight, encoder = torch.randn(2, 4).double(), torch.eye(4).double()[:2]
    errors = []
    for place, held_out in enumerate(parts):
        rest = torch.cat([part for other, part in enumerate(parts) if other != place])
        fit = refitted(weight, encoder, rest, 1e-2)
        gap = held_out @ weight.T - held_out @ encoder.T @ fit.weight.T - fit.bias
        errors.append(gap.square().sum(1).mean().item())
    folds = [Pairs.of_layer(moments_of(part), weight, encoder) for part in parts]
    assert cross_validated(left_by(weight, encoder), folds, 1e-2) == pytest.approx(sum(errors) / 3)
    whole = Pairs.of_layer(moments_of(torch.cat(parts)), weight, encoder)
    torch.testing.assert_close(summed(folds).products(True)[1], whole.products(True)[1])


def test_nothing_kept_leaves_the_mean() -> None:
    x, weight = rows_of(4, 1), torch.randn(2, 4).double()
    fit = refitted(weight, torch.zeros(0, 4).double(), x, 1e-3)
    assert fit.weight.shape == (2, 0)
    torch.testing.assert_close(fit.bias, weight @ x.mean(0))


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
    found = fit_towards(Fit(weight, torch.zeros(3).double() if bias else None), pairs_of(h, t), ridge)
    expected, constant = stacked(h, t, weight, ridge, bias)
    torch.testing.assert_close(found.weight, expected)
    if found.bias is not None:
        torch.testing.assert_close(found.bias, constant)
    assert (found.bias is None) != bias


def test_a_relation_that_holds_is_learned_and_one_that_does_not_is_not() -> None:
    h, noise = sample(400)
    true, there = torch.randn(3, 5).double(), Fit(torch.randn(3, 5).double(), torch.zeros(3).double())
    learnt = h @ true.T + 1
    tasks = [(there, [pairs_of(h[:200], learnt[:200]), pairs_of(h[200:], learnt[200:])])]
    found = choose(tasks, {"fit": tasks}, (1e-6, 1.0))
    assert (found.way, found.ridge) == ("fit", 1e-6)
    assert found.after < 1e-6 * found.before
    torch.testing.assert_close(found.fit.weight, true, rtol=1e-3, atol=1e-3)
    zeros = Fit(torch.zeros(3, 5).double(), noise.mean(0))
    small = [(zeros, [pairs_of(h[place : place + 7], noise[place : place + 7]) for place in (0, 7)])]
    kept = choose(small, {"fit": small}, (1e-9,))
    assert (kept.way, kept.ridge) == ("none", None)
    assert kept.after == kept.before
    assert kept.fits[0] is zeros
    assert kept.repair("layer").error_before == kept.before


def test_the_matrices_of_a_layer_are_chosen_for_together_by_the_best_way() -> None:
    """One matrix alone would take the weak ridge; the other one, whose folds are noise, weighs more."""
    h, t = sample(400)
    true = torch.randn(3, 5).double()
    there = Fit(torch.zeros(3, 5).double(), torch.zeros(3).double())
    good = (there, [pairs_of(h[:200], h[:200] @ true.T), pairs_of(h[200:], h[200:] @ true.T)])
    noise = (there, [pairs_of(h[place : place + 7], 3 * t[place : place + 7] + 10) for place in (0, 7)])
    ridges = (1e-6, 1e6)
    assert choose([good], {"fit": [good]}, ridges).ridge == 1e-6
    both = choose([good, noise], {"bad": [noise, noise], "fit": [good, noise]}, ridges)
    expected = min((cross_validated(*good, r) + cross_validated(*noise, r), r) for r in ridges)
    assert (both.way, both.ridge) == ("fit", expected[1])
    assert both.after == pytest.approx(expected[0])
    assert both.fit.weight.shape == (6, 5)
    rows = torch.tensor([True, False, False, False, False, True])
    assert torch.equal(both.fit.of(rows).weight, both.fit.weight[[0, 5]])


def test_a_strong_pull_leaves_what_is_there() -> None:
    (h, t), weight = sample(), torch.randn(3, 5).double()
    found = fit_towards(Fit(weight, torch.zeros(3).double()), pairs_of(h, t), 1e9)
    torch.testing.assert_close(found.weight, weight, rtol=1e-6, atol=1e-6)
