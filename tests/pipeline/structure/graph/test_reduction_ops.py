"""Reductions and mixtures keep what they run over, sums may lose it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.pipeline.structure.graph.following import of


@pytest.mark.parametrize("keepdim", [True, False])
@pytest.mark.parametrize(("function", "lost"), [(torch.sum, True), (torch.mean, False), (torch.amax, False)])
def test_only_sums_may_lose_what_they_run_over(function: Callable[..., Tensor], lost: bool, keepdim: bool) -> None:
    found = of(lambda p, x: function(p, dim=1, keepdim=keepdim), (4, 6))
    assert found.results[0].shape == ((4, 1) if keepdim else (4,))
    assert found.along(0, 0) == found.at("p0", 0)
    assert not found.reason("p0", 0)
    assert ("statistic" in found.reason("p0", 1)) != lost


def test_a_reduction_without_dimensions_runs_over_all() -> None:
    found = of(lambda p, x: p.mean(), (4, 6))
    assert found.results[0].shape == ()
    assert "statistic" in found.reason("p0", 0) and "statistic" in found.reason("p0", 1)


@pytest.mark.parametrize(
    "function", [lambda p: p.softmax(dim=1), lambda p: p.log_softmax(-1), lambda p: p.cumsum(1), lambda p: p.topk(6)[0]]
)
def test_what_a_mixture_runs_over_stays(function: Callable[[Tensor], Tensor]) -> None:
    found = of(lambda p, x: function(p), (4, 6))
    assert "runs over it" in found.reason("p0", 1)
    assert not found.reason("p0", 0)
    assert found.along(0, 0) == found.at("p0", 0)
    assert not found.results[0].on(1)
