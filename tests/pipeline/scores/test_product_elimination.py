"""Elimination of query/key dimensions, against the regression it stands for on explicit pairs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from secateur.pipeline.scores.product_elimination import eliminate_products, errors_without_each, product_error


def pairs(dims: int = 5, count: int = 30) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(2, dims, dims, generator=generator).double()
    q, k = (torch.randn(count, dims, generator=generator).double() @ m for m in mix)
    return q + 0.5, k


def regressed(q: Tensor, k: Tensor, stay: list[int]) -> float:
    """The mean squared error of all logits after least squares on the products of the dimensions that stay."""
    logits = (q @ k.T).flatten()
    design = torch.einsum("ia,jb->ijab", q[:, stay], k[:, stay]).reshape(len(logits), -1)
    fitted = design @ torch.linalg.lstsq(design, logits).solution if stay else 0
    return float((logits - fitted).square().mean())


def test_the_error_is_that_of_the_best_two_sided_refit() -> None:
    q, k = pairs()
    moments = [x.T @ x / len(x) for x in (q, k)]
    for stay in ([0, 1, 2, 3], [1, 4], [2], []):
        index = torch.tensor(stay, dtype=torch.long)
        assert product_error(*moments, index) == pytest.approx(regressed(q, k, stay), rel=1e-8)
        expected = [regressed(q, k, [other for other in stay if other != unit]) for unit in stay]
        assert errors_without_each(*moments, index).tolist() == pytest.approx(expected, rel=1e-7)


def test_dimensions_go_greedily_and_their_errors_add_up() -> None:
    q, k = pairs()
    found = eliminate_products(q.T @ q / 30, k.T @ k / 30, 0.0, rounds=5)
    first = [regressed(q, k, [d for d in range(5) if d != unit]) for unit in range(5)]
    assert found.argmin().item() == min(range(5), key=first.__getitem__)
    assert found.min().item() == pytest.approx(min(first), rel=1e-6)
    assert found.sum().item() >= regressed(q, k, []) * (1 - 1e-6)


def test_a_dimension_without_queries_costs_nothing() -> None:
    q, k = pairs()
    q[:, 3] = 0
    found = eliminate_products(q.T @ q / 30, k.T @ k / 30, 1e-9, rounds=5)
    assert found.argmin().item() == 3
    assert found[3] < 1e-6 * found.max()
