"""Blocks: which modules are compared, along which features, and by what error."""

from __future__ import annotations

from functools import cache

import timm
import torch
from torch import nn

from secateur.pipeline.recover.blocks import Block, Watched, listening, numbered_blocks, shared_blocks
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups, Kind
from secateur.pipeline.structure.masking import masked
from secateur.pipeline.structure.plan import Plan, plan_from_kept
from secateur.pipeline.structure.surgery import prune
from tests.conftest import make_vit


def halved(groups: Groups, kinds: tuple[Kind, ...]) -> Plan:
    """Every second unit of these kinds goes, in every head."""
    return plan_from_kept(groups, {group.name: range(0, group.units, 2) for group in groups if group.kind in kinds})


@cache
def halved_resnet() -> tuple[nn.Module, nn.Module, Groups, Plan]:
    """A pruned narrow ResNet with a stem of four modules, the dense one, its groups and the plan."""
    torch.manual_seed(0)
    dense = timm.create_model("resnet14t", num_classes=5, channels=(16, 16, 32, 32)).eval()
    groups = find_groups(dense, torch.zeros(1, 3, 32, 32))
    plan = halved(groups, ("channel",))
    return prune(dense, plan, groups), dense, groups, plan


def test_blocks_are_the_outermost_numbered_modules_with_weights() -> None:
    stages = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.ModuleList([nn.Sequential(nn.Linear(2, 2))]))
    model = nn.ModuleDict({"stem": nn.Linear(2, 2), "stages": stages})
    assert numbered_blocks(model) == ["stages.0.0", "stages.1.0.0"]
    assert numbered_blocks(make_vit()) == ["blocks.0", "blocks.1"]


def test_narrower_blocks_of_a_transformer_are_compared_in_the_features_that_stay(
    vit: nn.Module, vit_groups: Groups
) -> None:
    """Its normalisations count what is gone, so that the masked model is another one."""
    plan = halved(vit_groups, ("width", "mlp_hidden"))
    blocks = shared_blocks(prune(vit, plan, vit_groups), vit, vit_groups, plan, torch.randn(2, 3, 16, 16))
    assert any(block.stays is not None for block in blocks)


def test_narrower_blocks_give_what_the_masked_dense_model_gives_in_the_features_that_stay() -> None:
    small, model, groups, plan = halved_resnet()
    x = torch.randn(2, 3, 32, 32)
    blocks = shared_blocks(small, model, groups, plan, x)
    assert any(block.stays is not None for block in blocks)
    reference, names = masked(model, groups, plan), [block.name for block in blocks]
    with torch.no_grad(), listening(reference, names) as goals, listening(small, names) as found:
        reference(x)
        small(x)
    for block in blocks:
        torch.testing.assert_close(found[block.name], block.left(goals[block.name]), rtol=1e-3, atol=1e-4)


def test_blocks_without_a_reader_that_says_what_stays_are_left_out() -> None:
    """Nobody but the pooling reads the last block of a narrower network."""

    class Chain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1)])
            self.head = nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for layer in self.layers:
                x = layer(x)
            return self.head(x.relu().mean((2, 3)))  # type: ignore[no-any-return]  # nn.Module returns Any

    model = Chain().eval()
    groups = find_groups(model, torch.zeros(1, 3, 4, 4))
    plan = halved(groups, ("channel",))
    small = prune(model, plan, groups)
    (first,) = shared_blocks(small, model, groups, plan, torch.randn(1, 3, 4, 4))
    assert first.name == "layers.0"
    assert first.stays is not None
    assert first.stays.tolist() == [0, 2, 4, 6]


def test_the_error_is_relative_to_the_variance_of_what_the_small_block_should_give() -> None:
    goal, found = torch.randn(4, 6, 5), torch.randn(4, 6, 2)
    block = Block("here", -1, torch.tensor([1, 3]))
    wanted = goal[..., [1, 3]]
    expected = ((found - wanted) ** 2).mean() / ((wanted - wanted.mean()) ** 2).sum() * (wanted.numel() - 1)
    torch.testing.assert_close(block.error(found, goal), expected)
    assert block.error(wanted, goal) == 0


def test_a_watched_model_gives_its_blocks_outputs_beside_its_answer() -> None:
    model, x = make_vit(), torch.randn(2, 3, 16, 16)
    given, answer = Watched(model, [Block("blocks.0"), Block("blocks.1")])(x)
    first = model.blocks[0](model.norm_pre(model._pos_embed(model.patch_embed(x))))
    torch.testing.assert_close(given[0], first)
    torch.testing.assert_close(given[1], model.blocks[1](first))
    torch.testing.assert_close(answer, model(x))
    assert not model.blocks[0]._forward_hooks
