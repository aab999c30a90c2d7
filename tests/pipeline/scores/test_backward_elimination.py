"""Elimination: each unit's loss against the least squares it stands for, solved again from scratch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from secateur.core.errors import PlanError
from secateur.pipeline.scores.backward_elimination import Regression, eliminate


def lost(covariance: Tensor, weight: Tensor, metric: Tensor, stay: Tensor) -> float:
    """The weighted error of the best prediction of W x from the columns that stay."""
    gone = ~stay
    explained = torch.linalg.solve(covariance[stay][:, stay], covariance[stay][:, gone])
    rest = covariance[gone][:, gone] - covariance[gone][:, stay] @ explained
    return float((metric @ weight[:, gone] @ rest @ weight[:, gone].T).trace())


def problem(d: int, seed: int, out: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(4 * d, d, generator=generator).double() @ torch.randn(d, d, generator=generator).double()
    g = torch.randn(out, out, generator=generator).double()
    return x.T @ x / len(x), torch.randn(out, d, generator=generator).double(), g @ g.T + 0.1 * torch.eye(out)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 3), min_size=2, max_size=5), st.integers(0, 999))
def test_losses_are_what_a_refit_without_the_unit_leaves(sizes: list[int], seed: int) -> None:
    columns = torch.cat([torch.full((size,), unit) for unit, size in enumerate(sizes)])
    columns = torch.cat([columns, torch.tensor([-1])])[torch.randperm(len(columns) + 1)]
    covariance, weight, metric = problem(len(columns), seed)
    found = Regression(covariance, weight, columns, metric, 0.0).losses(len(sizes))
    for unit in range(len(sizes)):
        assert found[unit].item() == pytest.approx(lost(covariance, weight, metric, columns != unit), rel=1e-6)


def test_removal_refits_the_rest() -> None:
    covariance, weight, metric = problem(6, 1)
    regression = Regression(covariance, weight, torch.arange(6), metric, 0.0)
    stay = torch.tensor([True, False, True, True, False, True])
    error = regression.remove(torch.tensor([1, 4]))
    assert error == pytest.approx(lost(covariance, weight, metric, stay))
    direct = (
        weight[:, stay] + weight[:, ~stay] @ torch.linalg.solve(covariance[stay][:, stay], covariance[stay][:, ~stay]).T
    )
    torch.testing.assert_close(regression.weight, torch.linalg.cholesky(metric).T @ direct)
    for unit in (0, 2, 3, 5):  # what is lost together is what was lost plus what is lost next
        without = stay.clone()
        without[unit] = False
        expected = lost(covariance, weight, metric, without) - error
        assert regression.losses(6)[unit].item() == pytest.approx(expected, rel=1e-6)


def test_one_by_one_it_is_greedy_backward_elimination_from_the_definition() -> None:
    covariance, weight, metric = problem(7, 2)
    found = eliminate([Regression(covariance, weight, torch.arange(7), metric, 0.0)], 7, 1, rounds=7)
    stay, spent, expected = torch.ones(7, dtype=torch.bool), 0.0, {}
    while stay.any():
        candidates = {}
        for unit in stay.nonzero()[:, 0].tolist():
            without = stay.clone()
            without[unit] = False
            candidates[unit] = lost(covariance, weight, metric, without) if without.any() else float("inf")
        unit = min(candidates, key=candidates.__getitem__)
        stay[unit] = False
        total = candidates[unit] if stay.any() else float((metric @ weight @ covariance @ weight.T).trace())
        expected[unit], spent = total - spent, total
    assert found.argsort().tolist() == list(expected)
    least = 0.0
    for unit, loss in expected.items():
        least = max(loss, least)
        assert found[unit].item() == pytest.approx(least, rel=1e-4)


def test_a_copy_costs_nothing_until_the_other_one_is_gone() -> None:
    covariance, weight, metric = problem(5, 3)
    wide = torch.zeros(6, 5).double()
    wide[:5], wide[5] = torch.eye(5), torch.eye(5)[2]
    copied = wide @ covariance @ wide.T
    doubled = torch.cat([weight, weight[:, 2:3]], dim=1)
    found = eliminate([Regression(copied, doubled, torch.arange(6), metric, 1e-9)], 6, 1, rounds=6)
    assert found.argmin().item() in (2, 5)
    assert found.min() < 1e-6 * found[[0, 1, 3, 4]].min() < 1e-6 * found.max()


def test_every_block_gives_the_same_number_in_each_round() -> None:
    covariance, weight, metric = problem(12, 4)
    found = eliminate([Regression(covariance, weight, torch.arange(12), metric, 1e-6)], 12, 3, rounds=2)
    for half in (found.argsort()[:6], found.argsort()[6:]):
        assert torch.bincount(half // 4, minlength=3).tolist() == [2, 2, 2]


def test_units_of_two_readers_cost_the_sum() -> None:
    one, other = (problem(4, seed) for seed in (5, 6))
    parts = [Regression(c, w, torch.arange(4), m, 0.0) for c, w, m in (one, other)]
    both = sum(part.losses(4) for part in parts)
    found = eliminate(parts, 4, 1, rounds=4)
    assert found.min().item() == pytest.approx(float(both.min()))  # type: ignore[union-attr]  # two parts


def test_statistics_of_too_low_a_rank_ask_for_shrinkage() -> None:
    flat, weight = torch.ones(3, 3).double(), torch.randn(2, 3).double()
    with pytest.raises(PlanError, match="larger shrinkage"):
        Regression(flat - torch.eye(3), weight, torch.arange(3), torch.eye(2).double(), 0.0)
    Regression(flat, weight, torch.arange(3), torch.eye(2).double(), 1e-3)


def test_no_rounds_are_refused() -> None:
    with pytest.raises(PlanError, match="rounds is 0"):
        eliminate([], 4, 1, rounds=0)
