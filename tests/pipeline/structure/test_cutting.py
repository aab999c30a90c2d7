"""Cutting: exactly the slices that the plan leaves, everything else shared in form and untouched in the dense model."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from secateur.core.errors import PlanError
from secateur.pipeline.structure.cutting import copied_with, cut, example_for, positions_kept, sliced
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups, Slice
from secateur.pipeline.structure.history import plan_of
from secateur.pipeline.structure.plan import Plan, plan_from_kept
from tests.conftest import make_vit
from tests.pipeline.structure.test_random_networks import PIECES, Net, plan_for


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, len(PIECES) - 1), min_size=1, max_size=2), st.integers(0, 99))
def test_every_tensor_is_what_the_slices_of_all_groups_leave(chosen: list[int], seed: int) -> None:
    model = Net(chosen, 8, seed).eval()
    groups = find_groups(model, torch.zeros(1, 3, 4, 4), verify=False)
    plan = plan_for(groups, seed)
    before = copy.deepcopy(model.state_dict())
    index = positions_kept(groups, plan.kept)
    for name, tensor in model.named_parameters():
        expected = tensor.detach().numpy()
        for dim in range(tensor.ndim):
            stays = np.ones(tensor.shape[dim], dtype=bool)
            for group in groups:
                for part in group.slices:
                    if (part.tensor, part.dim) == (name, dim) and group.name in plan.kept:
                        stays &= [unit < 0 or unit in plan.kept[group.name] for unit in part.units]
            expected = expected.take(np.flatnonzero(stays), axis=dim)
        assert np.array_equal(sliced(tensor.detach(), name, index).numpy(), expected), name
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_cut_model_owns_its_smaller_tensors_and_knows_its_plan(vit: nn.Module, vit_groups: Groups) -> None:
    plan = plan_from_kept(vit_groups, {"blocks.0.mlp.hidden": [2, 5]})
    small = cut(vit, vit_groups, plan)
    weight = small.get_parameter("blocks.0.mlp.fc1.weight")
    assert torch.equal(weight, vit.get_parameter("blocks.0.mlp.fc1.weight")[[2, 5]])
    assert small.get_submodule("blocks.0.mlp.fc1").out_features == 2
    assert plan_of(small) is plan
    assert plan_of(vit) is None
    ours = {tensor.data_ptr() for tensor in small.parameters()}
    assert not ours & {tensor.data_ptr() for tensor in vit.parameters()}


def test_a_copy_takes_the_given_tensors_without_copying_them_and_copies_the_rest(vit: nn.Module) -> None:
    new = torch.randn(7, 48)
    vit.get_parameter("head.weight").requires_grad_(False)
    copied = copied_with(vit, {"head.weight": new})
    assert copied.get_parameter("head.weight").data_ptr() == new.data_ptr()
    assert not copied.get_parameter("head.weight").requires_grad
    bias = copied.get_parameter("head.bias")
    assert bias.requires_grad
    assert bias.data_ptr() != vit.get_parameter("head.bias").data_ptr()
    assert torch.equal(bias, vit.get_parameter("head.bias"))


class Caching(nn.Module):
    """As timm's LeViT: what it computes from a table is kept in evaluation mode until the mode is set again."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.layer = nn.Parameter(torch.randn(6)), nn.Linear(6, 6)
        self.cache: dict[str, Tensor] = {}

    def train(self, mode: bool = True) -> Caching:
        super().train(mode)
        self.cache = {}
        return self

    def forward(self, x: Tensor) -> Tensor:
        if "bias" not in self.cache:
            self.cache["bias"] = 2 * self.table
        out: Tensor = self.layer(x) + self.cache["bias"]
        return out


def test_what_a_model_has_cached_is_not_taken_along() -> None:
    model = Caching().eval()
    model(torch.zeros(1, 6))  # the cache holds a tensor with a gradient, which torch refuses to copy
    copied = copied_with(model, {"table": torch.ones(6)})
    x = torch.randn(2, 6)
    torch.testing.assert_close(copied(x), model.layer(x) + 2)
    assert not copied.training
    assert copied_with(model.train(), {}).training


@pytest.mark.nightly
def test_a_model_that_has_run_is_cut_as_if_it_had_not() -> None:
    torch.manual_seed(0)
    model = timm.create_model("efficientformerv2_s0", depths=(1, 1, 1, 2), num_classes=5).eval()
    x = torch.randn(1, 3, 224, 224)
    groups = find_groups(model, x, verify=False)
    name = next(group.name for group in groups if group.kind == "channel")
    plan = plan_from_kept(groups, {name: range(0, groups.named(name).units, 2)})
    fresh = cut(model, groups, plan)
    model(x)
    with torch.no_grad():
        assert torch.equal(cut(model, groups, plan)(x), fresh(x))


def test_heads_without_a_group_are_not_cut(vit: nn.Module) -> None:
    """A plan that was written by hand for groups that do not hold the queries."""
    part = Slice("blocks.0.attn.proj.weight", 1, "in", tuple(range(48)))
    found = find_groups(vit, torch.zeros(1, 3, 16, 16), verify=False)
    group = found.named("blocks.0.attn.v")
    odd = type(group)(group.name, "v_dim", 48, (part,), group.sites, 3)
    groups = Groups((odd,), (), (), found.shapes, found.parameters, found.inputs)
    with pytest.raises(PlanError, match=r"blocks\.0\.attn: a plan removes values of heads that have no group"):
        cut(vit, groups, Plan({group.name: (0, 1)}, groups.fingerprint(), groups.inputs))


def test_examples_are_seeded_and_like_the_model() -> None:
    model = make_vit().double()
    x = example_for(model, (3, 16, 16), batch=2, seed=4)
    assert (x.shape, x.dtype) == ((2, 3, 16, 16), torch.float64)
    assert torch.equal(x, example_for(model, (3, 16, 16), batch=2, seed=4))
    assert not torch.equal(x, example_for(model, (3, 16, 16), batch=2))


LAST = [(nn.Conv2d, 2, torch.channels_last), (nn.Conv3d, 3, torch.channels_last_3d)]


@pytest.mark.parametrize(("kind", "dims", "last"), LAST)
def test_weights_whose_channels_lie_last_stay_so(kind: type[nn.Module], dims: int, last: torch.memory_format) -> None:
    model = nn.Sequential(kind(3, 8, 3), nn.ReLU(), kind(8, 6, 3), nn.Flatten(), nn.Linear(6, 2))
    groups = find_groups(model, torch.zeros(1, 3, *(5,) * dims))
    plan = plan_from_kept(groups, {"0.channels": range(5)})
    for wanted in (torch.contiguous_format, last):
        for layer in (model[0], model[2]):
            layer.weight.data = layer.weight.data.contiguous(memory_format=wanted)
        small = cut(model, groups, plan)
        for name, channels in (("0.weight", (5, 3)), ("2.weight", (6, 5))):
            weight = small.get_parameter(name)
            assert weight.shape[:2] == channels and weight.is_contiguous(memory_format=wanted)
