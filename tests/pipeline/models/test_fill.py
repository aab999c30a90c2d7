"""Checkpoints of other architectures, of older ones, and of other numbers of classes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from secateur.core.errors import ModelError
from secateur.pipeline.models.create import create_model
from secateur.pipeline.models.fill import classes_in
from tests.pipeline.models.small import SMALL, VIT, same_weights, small_vit, write_safetensors


def test_counters_of_batches_may_be_missing(tmp_path: Path) -> None:
    model = create_model("resnet10t", num_classes=4)
    tensors = {k: v for k, v in model.state_dict().items() if "num_batches_tracked" not in k}
    assert same_weights(model, create_model("resnet10t", write_safetensors(tensors, tmp_path / "x.safetensors")))


def test_older_checkpoints_of_a_family_go_through_timms_filter(tmp_path: Path) -> None:
    model = small_vit()
    wide = small_vit(img_size=32)
    path = write_safetensors(wide.state_dict(), tmp_path / "x.safetensors")  # 65 positions, resampled to 17
    filled = create_model(VIT, path, **SMALL)
    assert torch.equal(filled.get_parameter("blocks.1.mlp.fc1.weight"), wide.get_parameter("blocks.1.mlp.fc1.weight"))
    assert filled.get_parameter("pos_embed").shape == model.get_parameter("pos_embed").shape


def test_a_checkpoint_of_another_architecture_says_what_differs(tmp_path: Path) -> None:
    path = write_safetensors(small_vit().state_dict(), tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match=r"does not fit resnet10t: \d+ of \d+ tensors missing \(first 'conv1"):
        create_model("resnet10t", path)
    with pytest.raises(ModelError, match=r"12 of 44 tensors missing \(first 'blocks.2.norm1.weight'\); give"):
        create_model(VIT, path, **{**SMALL, "depth": 3})
    with pytest.raises(ModelError, match=r"12 unexpected \(first 'blocks.1.attn.proj.bias'\)"):
        create_model(VIT, path, **{**SMALL, "depth": 1})
    with pytest.raises(ModelError, match=r"of another shape \(first '.*': \[.*48.*\] in the file, \[.*36.*\] in the"):
        create_model(VIT, path, **{**SMALL, "embed_dim": 36})


def test_the_number_of_classes_is_that_of_the_classifier() -> None:
    state = small_vit(num_classes=7).state_dict()
    assert classes_in(VIT, state) == 7
    assert classes_in(VIT, {**state, "head.bias": torch.zeros(3)}) is None
    assert classes_in(VIT, {}) is None
    assert classes_in("resnet10t", state) is None


TYPES = [torch.int8, torch.uint8, torch.int64, torch.bool, torch.complex64, torch.float8_e4m3fn]


@pytest.mark.parametrize("dtype", TYPES)
def test_weights_that_are_no_fractions_are_refused(dtype: torch.dtype, tmp_path: Path) -> None:
    state = small_vit().state_dict()
    torch.save({**state, "head.weight": state["head.weight"].to(dtype)}, tmp_path / "x.pth")
    with pytest.raises(ModelError, match=rf"'head.weight' is {str(dtype)[6:]}, but weights are of float32"):
        create_model(VIT, tmp_path / "x.pth", **SMALL)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precisions_are_taken(dtype: torch.dtype, tmp_path: Path) -> None:
    state = {name: value.to(dtype) for name, value in small_vit().state_dict().items()}
    torch.save(state, tmp_path / "x.pth")
    filled = create_model(VIT, tmp_path / "x.pth", **SMALL)
    assert torch.equal(filled.get_parameter("head.weight"), state["head.weight"].float())
