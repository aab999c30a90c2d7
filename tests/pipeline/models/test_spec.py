"""What says how a model is made."""

from __future__ import annotations

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
