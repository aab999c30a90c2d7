"""Reductions and mixtures keep what they run over, sums may lose it; what they run across goes in all places."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.surgery import prune
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


@pytest.mark.parametrize("keepdim", [True, False])
@pytest.mark.parametrize("function", [torch.sum, torch.mean, torch.amax])
def test_what_is_reduced_across_branches_goes_in_all_of_them(function: Callable[..., Tensor], keepdim: bool) -> None:
    """Channels of three branches side by side, as split attention has them."""
    found = of(lambda p, x: function(p.reshape(3, 4), dim=0, keepdim=keepdim), (12,))
    branches = [found.at("p0", 0)[start : start + 4] for start in (0, 4, 8)]
    assert branches[0] == branches[1] == branches[2] and len(set(branches[0])) == 4
    assert not found.reason("p0", 0)
    assert found.along(0, 1 if keepdim else 0) == branches[0]


@pytest.mark.parametrize(
    "function",
    [lambda p: p.softmax(dim=0), lambda p: p.cumsum(0), lambda p: p.topk(2, dim=0)[0], lambda p: p.sort(0)[0]],
)
def test_what_is_mixed_across_branches_goes_in_all_of_them(function: Callable[[Tensor], Tensor]) -> None:
    found = of(lambda p, x: function(p.reshape(3, 4)), (12,))
    branches = [found.at("p0", 0)[start : start + 4] for start in (0, 4, 8)]
    assert branches[0] == branches[1] == branches[2] and len(set(branches[0])) == 4
    assert not found.reason("p0", 0)
    assert found.along(0, 1) == branches[0]


class Selected(nn.Module):
    """Two branches weighed channel by channel by shares of one, as in selective kernels and split attention."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.both = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 16, 3, padding=1)
        self.reduce, self.select, self.head = nn.Linear(8, 6), nn.Linear(6, 16), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        both = self.both(self.stem(x)).unflatten(1, (2, -1))
        share = self.select(self.reduce(both.sum(1).mean((2, 3))).relu()).unflatten(1, (2, -1)).softmax(1)
        out: Tensor = self.head((both * share[..., None, None]).sum(1).mean((2, 3)))
        return out


def test_branches_that_are_selected_lose_the_same_channels() -> None:
    torch.manual_seed(0)
    model, x = Selected().eval(), torch.randn(2, 3, 5, 5)
    groups = find_groups(model, x)
    assert {group.name: group.units for group in groups} == {
        "stem.channels": 8,
        "both.channels": 8,
        "hidden": 6,
    }
    assert (groups.fixed, groups.unverifiable, groups.adapted) == ((), (), ())
    kept = {"both.channels": [0, 2, 3], "hidden": [1, 4]}
    small = prune(model, plan_from_kept(groups, kept), groups)
    assert small.both.weight.shape[0] == small.select.weight.shape[0] == 6
    with torch.no_grad():
        for name, units in (("both", {0, 2, 3}), ("reduce", {1, 4})):
            for place in range(getattr(model, name).weight.shape[0]):
                if place % 8 not in units:
                    getattr(model, name).weight[place], getattr(model, name).bias[place] = 0, 0
    torch.testing.assert_close(small(x), model(x))
