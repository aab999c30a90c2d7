"""Residual streams in files: those of the model itself, block by block, and none of what is no plain chain."""

from __future__ import annotations

from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from secateur.pipeline.recover.residual_streams import ResidualStreams, chain_of
from tests.pipeline.recover.reading import inputs

Batches = list[tuple[Tensor, Tensor]]


@torch.no_grad()
def test_streams_go_through_the_blocks_of_both_models(vit: nn.Module, batches: Batches, tmp_path: Path) -> None:
    uneven = [batches[0], (batches[1][0][:3], batches[1][1][:3])]
    streams = ResidualStreams.read(vit, uneven, tmp_path)
    assert streams is not None
    expected = inputs(vit, uneven, "blocks.0")
    for (x, z), wanted in zip(streams, expected, strict=True):
        assert torch.equal(x, wanted)
        assert torch.equal(z, wanted)
    first, second = chain_of(vit)
    streams.advance(first, second)
    for (x, z), before, after in zip(streams, expected, inputs(vit, uneven, "blocks.1"), strict=True):
        torch.testing.assert_close(x, after)
        torch.testing.assert_close(z, second(before))
    assert len(list(tmp_path.iterdir())) == 4


@torch.no_grad()
def test_a_model_that_is_more_than_a_chain_has_none(vit: nn.Module, batches: Batches, tmp_path: Path) -> None:
    assert len(chain_of(vit)) == 2
    blocks = vit.get_submodule("blocks")
    vit.blocks.forward = lambda x: blocks[1](2 * blocks[0](x))  # type: ignore[method-assign]  # another forward on purpose
    assert ResidualStreams.read(vit, batches, tmp_path) is None
    assert chain_of(timm.create_model("resnet10t", num_classes=2)) == []
    vit.blocks = nn.Sequential(*blocks, nn.Identity())
    assert chain_of(vit) == []
