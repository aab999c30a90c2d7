"""How a model was made: recorded, or inferred and checked."""

from __future__ import annotations

import json
from typing import Any

import pytest
import timm
from torch import nn

from secateur.core.errors import ModelError
from secateur.pipeline.models.create import create_model
from secateur.pipeline.models.inputs import input_shape, transform_for
from secateur.pipeline.models.origin import made_of, origin_of
from secateur.pipeline.models.spec import Origin, OwnModel
from tests.pipeline.models.small import SMALL, VIT, small_vit


def test_an_origin_makes_the_same_architecture_again() -> None:
    model = small_vit(img_size=(16, 24))
    origin = origin_of(model)
    again = create_model(origin.name, **json.loads(json.dumps(dict(origin.kwargs))))
    assert origin_of(again) == origin
    again.load_state_dict(model.state_dict())
    assert input_shape(again) == (3, 16, 24)


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        (VIT, {**SMALL, "num_classes": 5}),
        (VIT, {**SMALL, "num_classes": 5, "in_chans": 1}),
        ("resnet10t", {"in_chans": 1, "num_classes": 2}),
        ("test_efficientnet", {}),
        ("test_convnext.r160_in1k", {}),
    ],
)
def test_the_origin_of_timms_own_models_is_inferred(name: str, kwargs: dict[str, Any]) -> None:
    model = timm.create_model(name, **kwargs)
    origin = origin_of(model)
    assert origin.name.partition(".")[0] == name.partition(".")[0]
    assert "." in origin.name or not model.pretrained_cfg.get("tag")
    again = create_model(origin.name, **origin.kwargs)
    again.load_state_dict(model.state_dict())
    assert transform_for(again) == transform_for(model)
    assert origin_of(again) == origin


def test_an_origin_that_cannot_be_inferred_is_one_sentence() -> None:
    changed = timm.create_model(VIT, **SMALL)
    changed.blocks = changed.blocks[:1]
    with pytest.raises(ModelError, match=r"is not what timm makes as 'vit_tiny_patch16_224.*sc\.create_model"):
        origin_of(changed)
    with pytest.raises(ModelError, match=r"a Linear does not say which timm model it is.*sc\.create_model"):
        origin_of(nn.Linear(2, 2))
    odd = timm.create_model(VIT, act_layer=nn.ReLU, **SMALL)
    with pytest.raises(ModelError, match="JSON cannot hold"):
        origin_of(odd)


def test_a_recorded_origin_is_checked_too() -> None:
    model = small_vit()
    model.reset_classifier(7)
    assert origin_of(model) == Origin(VIT, {**SMALL, "num_classes": 7})
    model.head = nn.Sequential(model.head)
    with pytest.raises(ModelError, match=r"is not what timm makes as 'vit_tiny_patch16_224'"):
        origin_of(model)
    assert made_of(model).origin() == OwnModel("timm.models.vision_transformer.VisionTransformer")


def test_a_model_that_timm_does_not_make_is_its_makers_own() -> None:
    made = made_of(nn.Linear(2, 3))
    assert (made.claims, made.shapes) == ((), {"weight": (3, 2), "bias": (3,)})
    assert made.origin() == OwnModel("torch.nn.modules.linear.Linear")
