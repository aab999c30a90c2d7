"""A disagreement is blamed on the right group: by its tensors, by its surgery, by the code around it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from secateur.kernels.ragged_attention import RaggedAttention
from secateur.pipeline.structure import locate
from secateur.pipeline.structure.cutting import cut
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.locate import wrong_code, wrong_cut, wrong_tensor
from secateur.pipeline.structure.plan import Plan, plan_from_kept
from tests.pipeline.structure.test_random_networks import Net


def half_of(groups: Groups) -> Plan:
    return plan_from_kept(
        groups, {g.name: [u for u in range(g.units) if u % 2 == 0] for g in groups if g.kind != "head"}
    )


def rolled(small: nn.Module, tensor: str, dim: int) -> nn.Module:
    small = copy.deepcopy(small)
    data = dict([*small.named_parameters(), *small.named_buffers()])[tensor].data
    data.copy_(data.roll(1, dim))
    return small


def test_the_group_of_the_dimension_that_is_in_disorder_is_named(vit: nn.Module, vit_groups: Groups) -> None:
    plan = half_of(vit_groups)
    small = cut(vit, vit_groups, plan)
    assert wrong_tensor(vit, small, vit_groups, plan) is None
    for tensor, dim, group in (
        ("blocks.1.mlp.fc2.weight", 1, "blocks.1.mlp.hidden"),
        ("blocks.1.mlp.fc2.weight", 0, "patch_embed.proj.width"),
        ("blocks.1.mlp.fc1.weight", 0, "blocks.1.mlp.hidden"),
        ("blocks.1.mlp.fc1.bias", 0, "blocks.1.mlp.hidden"),
        ("blocks.0.attn.proj.weight", 1, "blocks.0.attn.heads"),  # values lie in the same places
        ("norm.weight", 0, "patch_embed.proj.width"),
        ("pos_embed", 2, "patch_embed.proj.width"),
        ("head.bias", 0, ""),
    ):
        assert wrong_tensor(vit, rolled(small, tensor, dim), vit_groups, plan) == (group, tensor), (tensor, dim)


def test_readers_that_are_all_wrong_are_blamed_on_what_they_read(vit: nn.Module, vit_groups: Groups) -> None:
    plan = half_of(vit_groups)
    small = cut(vit, vit_groups, plan)
    nn.init.normal_(small.get_parameter("blocks.1.mlp.fc2.weight"))
    assert wrong_tensor(vit, small, vit_groups, plan) == ("blocks.1.mlp.hidden", "blocks.1.mlp.fc2.weight")


def test_the_first_group_of_several_is_named_and_numbers_only_where_asked(vit: nn.Module, vit_groups: Groups) -> None:
    plan = half_of(vit_groups)
    small = rolled(rolled(cut(vit, vit_groups, plan), "blocks.1.mlp.fc2.weight", 1), "blocks.0.mlp.fc2.weight", 1)
    assert wrong_tensor(vit, small, vit_groups, plan) == ("blocks.0.mlp.hidden", "blocks.0.mlp.fc2.weight")
    assert wrong_tensor(vit, small, vit_groups, plan, ["blocks.1.mlp.fc2.weight"]) == (
        "blocks.1.mlp.hidden",
        "blocks.1.mlp.fc2.weight",
    )
    assert wrong_tensor(vit, small, vit_groups, plan, []) is None


def test_a_tensor_of_another_size_names_its_group(vit: nn.Module, vit_groups: Groups) -> None:
    plan = plan_from_kept(vit_groups, {"blocks.0.mlp.hidden": range(10)})
    other = plan_from_kept(vit_groups, {"blocks.0.mlp.hidden": range(12)})
    found = wrong_tensor(vit, cut(vit, vit_groups, other), vit_groups, plan, [])
    assert found is not None
    assert found[0] == "blocks.0.mlp.hidden"


def test_concatenated_readers_are_told_apart_by_position() -> None:
    model = Net([1], 8, 0).eval()
    groups = find_groups(model, torch.zeros(1, 3, 4, 4), verify=False)
    plan = plan_from_kept(groups, {group.name: range(0, group.units, 2) for group in groups})
    small = cut(model, groups, plan)
    reader = "pieces.0.out.weight"
    axis = groups.axes[reader, 1]
    assert len(axis.members) == 3  # two branches and the input
    stays = torch.from_numpy(axis.positions(plan.kept))
    for group, units in axis.members:
        mine = (torch.tensor(units)[stays] >= 0).nonzero().flatten()
        wrong = copy.deepcopy(small)
        weight = wrong.get_parameter(reader).data
        weight[:, mine] = weight[:, mine.roll(1)]
        assert wrong_tensor(model, wrong, groups, plan) == (group, reader)


def test_the_group_whose_surgery_is_wrong_is_named(
    vit: nn.Module, vit_groups: Groups, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = half_of(vit_groups)
    assert wrong_cut(vit, vit_groups, plan, torch.float32) is None

    def wrong(model: nn.Module, groups: Groups, part: Plan) -> nn.Module:
        small = cut(model, groups, part)
        if "blocks.1.mlp.hidden" in part.kept:
            small.set_submodule("blocks.1.mlp.act", nn.ReLU())
        return small

    monkeypatch.setattr(locate, "cut", wrong)
    assert wrong_cut(vit, vit_groups, plan, torch.float32) == "blocks.1.mlp.hidden"


def test_code_that_was_changed_is_found_by_what_the_modules_compute(vit: nn.Module, vit_groups: Groups) -> None:
    plan = half_of(vit_groups)
    small = cut(vit, vit_groups, plan)
    assert wrong_code(vit, small, vit_groups, plan, torch.float32) is None
    attention = small.get_submodule("blocks.1.attn")
    assert isinstance(attention, RaggedAttention)
    attention.scale = 8**-0.5
    assert str(wrong_code(vit, small, vit_groups, plan, torch.float32)).startswith("blocks.1.attn.")
