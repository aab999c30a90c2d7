"""What says how a model is made."""

from __future__ import annotations

from typing import Any

import pytest
import timm
from torch import nn

from secateur.core.errors import ModelError
from secateur.pipeline.models.create import create_model
from secateur.pipeline.models.spec import ModelSpec, pretrained_config, recorded_kwargs
from tests.pipeline.models.small import SMALL, VIT


def test_weights_come_from_one_place() -> None:
    assert ModelSpec("x", weights="y").pretrained is False
    with pytest.raises(ModelError, match=r"model.weights is '', but must be a .safetensors or .pth file"):
        ModelSpec("x", weights="")
    with pytest.raises(ModelError, match=r"model.pretrained is true, but model.weights is 'y': give one of them"):
        ModelSpec("x", weights="y", pretrained=True)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"ema": True}, "model.ema is True, but chooses between the weights of a file: give model.weights"),
        ({"mean": (0.5, 0.5)}, r"model.mean is \[0.5, 0.5\], but must be one number for all channels, or three"),
        ({"std": (0.0,)}, "model.std is .*must be between 0 and 1000"),
        ({"crop_pct": 1.5}, "model.crop_pct is 1.5, but must be from 0.01 to 1"),
        ({"input_size": (3, 8, 8), "kwargs": {"img_size": 8}}, "model.kwargs has img_size too: give one"),
        ({"input_size": (3, 0, 8)}, r"model.input_size is \[3, 0, 8\], but must be 1 or more"),
    ],
)
def test_preprocessing_that_there_is_not_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        ModelSpec("x", **keys)


def test_the_config_has_what_is_said() -> None:
    assert ModelSpec("x").config == {}
    assert ModelSpec("x", mean=(0.5,), crop_pct=1.0).config == {"mean": [0.5], "crop_pct": 1.0}


def test_the_arguments_are_those_that_were_given() -> None:
    assert recorded_kwargs(create_model(VIT, num_classes=3, **SMALL)) == {**SMALL, "num_classes": 3}
    left = recorded_kwargs(timm.create_model(VIT, num_classes=3, **SMALL))
    assert left.get("num_classes", 3) == 3
    assert recorded_kwargs(nn.Linear(2, 2)) == {}


def test_the_config_is_timms() -> None:
    assert pretrained_config(timm.create_model("test_vit"))["architecture"] == "test_vit"
    assert pretrained_config(nn.Linear(2, 2)) == {}
    other = nn.Linear(2, 2)
    other.pretrained_cfg = "mine"  # type: ignore[assignment]
    assert pretrained_config(other) == {}
