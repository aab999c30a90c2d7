"""Planted mistakes: which tensors they change, that they are undone, and that their effect is told truly."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from secateur.core.input_spec import InputSpec
from secateur.pipeline.structure.cutting import cut
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.outputs import relative_difference
from secateur.pipeline.structure.plan import Plan, plan_from_kept
from secateur.pipeline.structure.wrong_readers import WrongReader, estimated_moves, planted, wrong_readers


def wrong_of(model: nn.Module, groups: Groups, name: str, plan: Plan) -> tuple[WrongReader, ...]:
    return wrong_readers(groups, groups.named(name), plan, cut(model, groups, plan))


def test_readers_are_rolled_by_one_among_the_units_that_stay(vit: nn.Module, vit_groups: Groups) -> None:
    plan = plan_from_kept(vit_groups, {"blocks.0.mlp.hidden": [3, 9, 50, 191]})
    (wrong,) = wrong_of(vit, vit_groups, "blocks.0.mlp.hidden", plan)
    assert (wrong.tensor, wrong.dim) == ("blocks.0.mlp.fc2.weight", 1)
    assert wrong.order is not None
    assert wrong.order.tolist() == [3, 0, 1, 2]


def test_query_and_key_dimensions_are_rolled_in_the_queries_only(vit: nn.Module, vit_groups: Groups) -> None:
    plan = plan_from_kept(vit_groups, {"blocks.0.attn.qk": range(0, 48, 2)})
    (wrong,) = wrong_of(vit, vit_groups, "blocks.0.attn.qk", plan)
    assert (wrong.tensor, wrong.dim) == ("blocks.0.attn.qkv.weight", 0)
    assert wrong.order is not None
    assert wrong.order.tolist() == [23, *range(23), *range(24, 96)]  # then the keys and the values, as they are


def test_a_single_unit_is_read_with_the_wrong_sign_and_an_empty_branch_by_its_bias(
    vit: nn.Module, vit_groups: Groups
) -> None:
    (wrong,) = wrong_of(
        vit, vit_groups, "blocks.0.mlp.hidden", plan_from_kept(vit_groups, {"blocks.0.mlp.hidden": [7]})
    )
    assert wrong == WrongReader("blocks.0.mlp.fc2.weight", 1, None)
    plan = plan_from_kept(vit_groups, {"blocks.0.mlp.hidden": []})
    assert wrong_of(vit, vit_groups, "blocks.0.mlp.hidden", plan) == (WrongReader("blocks.0.mlp.fc2.bias", 0, None),)
    assert torch.equal(wrong.applied(torch.ones(2)), -torch.ones(2))


def test_of_an_empty_branch_without_a_bias_nothing_can_be_wrong() -> None:
    class Branch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.one, self.two = nn.Linear(6, 8), nn.Linear(8, 12), nn.Linear(12, 8, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            out: Tensor = x + self.two(self.one(x).relu())
            return out

    groups = find_groups(Branch().eval(), torch.zeros(1, 6), verify=False)
    plan = Plan({"hidden": ()}, groups.fingerprint(), InputSpec.shaped((6,)))
    small = Branch()
    del small.two
    assert wrong_readers(groups, groups.named("hidden"), plan, small) == ()


def test_a_planted_mistake_is_undone(vit: nn.Module) -> None:
    before = vit.get_parameter("blocks.0.mlp.fc2.weight").clone()
    order = torch.arange(192).roll(1)
    wrong = [WrongReader("blocks.0.mlp.fc2.weight", 1, order), WrongReader("blocks.0.mlp.fc2.weight", 0, None)]
    with pytest.raises(ValueError, match="on purpose"), planted(vit, wrong):
        torch.testing.assert_close(vit.get_parameter("blocks.0.mlp.fc2.weight"), -before.roll(1, 1))
        raise ValueError("on purpose")
    assert torch.equal(vit.get_parameter("blocks.0.mlp.fc2.weight"), before)


def test_the_estimate_is_of_the_size_of_the_effect(vit: nn.Module, vit_groups: Groups) -> None:
    """Within a factor of ten for every reader: the estimate is a mean over outputs, the effect their largest change."""
    plan = plan_from_kept(vit_groups, {g.name: range(0, g.units, 2) for g in vit_groups if g.kind != "head"})
    small = cut(vit, vit_groups, plan)
    wrong = [reader for name in plan.kept for reader in wrong_readers(vit_groups, vit_groups.named(name), plan, small)]
    assert len(wrong) > len(plan.kept)  # the stream has many
    x = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    outputs = small(x)
    for reader, estimate in zip(wrong, estimated_moves(small, wrong, [outputs]), strict=True):
        with torch.no_grad(), planted(small, [reader]):
            effect = relative_difference([small(x)], [outputs.detach()])
        assert 0.1 * effect < 3 * estimate < 10 * effect, reader.tensor


def test_what_the_outputs_do_not_depend_on_moves_nothing(vit: nn.Module) -> None:
    wrong = [WrongReader("blocks.0.mlp.fc2.weight", 1, torch.arange(192).roll(1))]
    x = torch.randn(2, 3, 16, 16)
    assert estimated_moves(vit, wrong, [vit.get_submodule("patch_embed")(x)]) == [0.0]
    assert estimated_moves(vit, wrong, [torch.zeros(3)]) == [0.0]
    assert estimated_moves(vit, [], [vit(x)]) == []
    vit.get_parameter("head.bias").data += torch.inf
    assert estimated_moves(vit, wrong, [vit(x)]) == [0.0]
