"""The branches of a block: their parts make the block, and a branch that lost everything is told."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from secateur.pipeline.recover.branches import ATTENTION, BRANCHES, MLP, ends_with_layer, run_in_parts
from tests.conftest import make_vit


@pytest.mark.parametrize("init_values", [None, 0.3])
def test_the_parts_of_the_branches_make_the_block(init_values: float | None) -> None:
    block, x = make_vit(init_values=init_values).blocks[0], torch.randn(2, 17, 48)
    with torch.no_grad():
        torch.testing.assert_close(run_in_parts(block, x), block(x))
        y = x + ATTENTION.output(block, x)
        torch.testing.assert_close(y + MLP.output(block, y), block(x))
        read = MLP.read_by_layer(block, y)
        torch.testing.assert_close(read, block.mlp.act(block.mlp.fc1(block.norm2(y))))
    assert isinstance(block.mlp.fc2, nn.Linear)  # it is back in its place
    expected = torch.ones(1) if init_values is None else block.ls2.gamma
    assert torch.equal(MLP.scale(block), expected)


def test_a_branch_that_ends_with_no_linear_layer_is_told() -> None:
    block = timm.create_model("vit_tiny_patch16_224", img_size=16, patch_size=4, embed_dim=48, depth=1).blocks[0]
    assert all(ends_with_layer(block, branch) for branch in BRANCHES)
    block.mlp.fc2 = nn.Identity()
    assert not ends_with_layer(block, MLP)
    assert ends_with_layer(block, ATTENTION)
