"""Soft costs: those of the surgery where units stay or go, and linear in each chunk between."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.core.errors import PlanError
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.plan.soft_cost import SoftCost
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
from tests.conftest import make_vit


@pytest.fixture(scope="module")
def groups() -> Groups:
    return find_groups(make_vit(), torch.zeros(1, 3, 16, 16))


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(["macs", "params", "units"]), st.integers(0, 999), st.floats(0.1, 0.9))
def test_whole_units_cost_what_the_small_model_costs(groups: Groups, measure: str, seed: int, share: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    stays = {group.name: torch.rand(group.units, generator=generator) < share for group in groups if seed % 7 or group}
    stays.pop(groups[seed % len(groups)].name)  # a group that is left out stays whole
    budget, names = Budget(**{measure: 0.5}), [group.name for group in groups]
    found = SoftCost(groups, budget, names)({name: value.float() for name, value in stays.items()})
    kept = {name: value.nonzero().flatten().tolist() for name, value in stays.items()}
    assert found.item() == pytest.approx(budget.cost(groups, kept, names), rel=1e-9)


def test_half_a_unit_costs_half_and_gradients_are_differences(groups: Groups) -> None:
    cost = SoftCost(groups, Budget(macs=0.5), [])
    name, other = "blocks.0.mlp.hidden", "blocks.0.attn.heads"
    ones = {group.name: torch.ones(group.units) for group in (groups.named(name), groups.named(other))}
    dense = cost(ones).item()
    half = {**ones, name: ones[name].index_fill(0, torch.tensor([3]), 0.5)}
    gone = {**ones, name: ones[name].index_fill(0, torch.tensor([3]), 0.0)}
    assert dense - cost(half).item() == pytest.approx((dense - cost(gone).item()) / 2)
    share = ones[other].clone().requires_grad_()
    cost({**ones, other: share}).backward()
    assert share.grad is not None
    less = ones[other].index_fill(0, torch.tensor([1]), 0.0)
    assert share.grad[1].item() == pytest.approx(dense - cost({**ones, other: less}).item(), rel=1e-5)


def test_a_latency_has_no_formula(groups: Groups) -> None:
    with pytest.raises(PlanError, match="needs a budget of macs, params or units, but got a latency"):
        SoftCost(groups, Budget(latency=0.5, target="torch:cpu"), [])
