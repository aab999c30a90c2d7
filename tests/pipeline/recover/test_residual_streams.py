"""Residual streams in files: those of the model itself, step by step, and none of what is no plain chain."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

from secateur.core.errors import RunError
from secateur.pipeline.recover import tensor_file
from secateur.pipeline.recover.branches import BRANCHES, run_in_parts
from secateur.pipeline.recover.residual_streams import ResidualStreams, chain_of
from tests.conftest import make_vit
from tests.pipeline.recover.reading import inputs

Batches = list[tuple[Tensor, Tensor]]


@torch.no_grad()
def test_they_begin_as_the_models_own_and_go_on_by_the_steps_that_are_due(
    vit: nn.Module, batches: Batches, tmp_path: Path
) -> None:
    uneven = [batches[0], (batches[1][0][:3], batches[1][1][:3])]
    streams = ResidualStreams.read(vit, uneven, tmp_path, widest=7)
    assert streams is not None
    expected = inputs(vit, uneven, "blocks.0")
    for kind in (streams.dense, streams.pruned):
        for (_, x), wanted in zip(kind(), expected, strict=True):
            assert torch.equal(x, wanted)
    assert streams.samples == [len(x) for x in expected]
    for place, x in enumerate(expected):
        streams.keep("held", place, x[..., :7] + place)
    streams.then(lambda z, held: z + held()[..., :1])
    streams.then(lambda z, _held: 2 * z)
    for _ in range(2):  # steps are taken once
        for (place, z), x in zip(streams.pruned(), expected, strict=True):
            torch.testing.assert_close(z, 2 * (x + x[..., :1] + place))
    assert torch.equal(streams.of("dense", 1), expected[1])


@torch.no_grad()
def test_a_block_in_parts_is_the_block(vit: nn.Module, batches: Batches) -> None:
    for model in (vit, make_vit(init_values=0.5)):
        for block, x in zip(chain_of(model), inputs(model, batches[:1], "blocks.0") * 2, strict=True):
            layers = [block.get_submodule(branch.layer) for branch in BRANCHES]
            torch.testing.assert_close(run_in_parts(block, x), block(x))
            assert [block.get_submodule(branch.layer) for branch in BRANCHES] == layers


@torch.no_grad()
def test_a_model_that_is_more_than_a_chain_has_none(vit: nn.Module, batches: Batches, tmp_path: Path) -> None:
    assert len(chain_of(vit)) == 2
    blocks = vit.get_submodule("blocks")
    vit.blocks.forward = lambda x: blocks[1](2 * blocks[0](x))  # type: ignore[method-assign]  # another forward on purpose
    assert ResidualStreams.read(vit, batches, tmp_path) is None
    assert chain_of(timm.create_model("resnet10t", num_classes=2)) == []
    vit.blocks = nn.Sequential(*blocks, nn.Identity())
    assert chain_of(vit) == []


@torch.no_grad()
def test_a_folder_without_room_is_told_before_anything_is_done(
    vit: nn.Module, batches: Batches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []

    def full(file: int, start: int, size: int) -> None:
        taken.append(size)
        if len(taken) == 4:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensor_file.os, "posix_fallocate", full)
    with pytest.raises(RunError, match=r"do not fit into the temporary folder .*No space left.*TMPDIR"):
        ResidualStreams.read(vit, batches[:1], tmp_path, widest=96)
    tokens = batches[0][0].shape[0] * 17
    assert taken == [4 * tokens * 48] * 3 + [4 * tokens * 96]
