"""The options of masks: checked when they are given, and handed to what learns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from secateur.core.errors import PlanError
from secateur.pipeline.scores.registry import TrainedMethod, method_of
from secateur.pipeline.scores.score import score
from secateur.pipeline.scores.xmask.method import XMask
from secateur.pipeline.structure.groups import Groups


def test_bad_options_are_refused() -> None:
    for options, words in [
        ({"epochs": 0}, "xmask.epochs is 0"),
        ({"rank": -1}, "xmask.rank is -1"),
        ({"sparsity": -0.1}, "xmask.sparsity is -0.1"),
        ({"smooth": "class"}, "did you mean 'classes'"),
        ({"precision": "fp8"}, "one of no, bf16, fp16"),
        ({"kinds": ["heads"]}, "did you mean 'head'"),
    ]:
        with pytest.raises(PlanError, match=words):
            method_of("xmask", options)


def test_it_trains_and_tells_its_progress(
    vit: nn.Module, vit_groups: Groups, batches: list[tuple[Tensor, Tensor]], tmp_path: Path
) -> None:
    made, said = XMask(kinds=("head",), epochs=2), list[str]()
    assert isinstance(made, TrainedMethod)
    trained = made.train(vit, vit_groups, batches, 0, said.append, tmp_path)
    assert said[-1].startswith("masks: step 2 of 2")
    in_one_go = made.score(vit, vit_groups, batches, 0)
    named = score(vit, vit_groups, batches, "xmask", kinds=["head"], epochs=2)
    assert set(trained) == {"blocks.0.attn.heads", "blocks.1.attn.heads"}
    for name, value in trained.items():
        assert torch.equal(value, in_one_go[name])
        assert torch.equal(value, named.values[name])
