"""Inputs, preprocessing and classes of a model."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch

from secateur.core.errors import ModelError
from secateur.pipeline.models.create import create_model
from secateur.pipeline.models.inputs import check_classes, input_shape, transform_for
from tests.pipeline.models.small import SMALL, VIT, small_vit


@pytest.mark.parametrize(
    ("name", "kwargs", "shape"),
    [
        (VIT, {**SMALL, "in_chans": 1, "img_size": 8, "patch_size": 2}, (1, 8, 8)),
        (VIT, SMALL, (3, 16, 16)),
        ("resnet10t", {"in_chans": 1}, (1, 176, 176)),
        ("resnet10t", {"pretrained_cfg_overlay": {"input_size": [3, 32, 32]}}, (3, 32, 32)),
        ("test_efficientnet", {}, (3, 160, 160)),
    ],
)
def test_the_input_shape_is_the_one_the_model_was_built_for(
    name: str, kwargs: dict[str, Any], shape: tuple[int, int, int]
) -> None:
    model = create_model(name, **kwargs)
    assert input_shape(model) == shape
    assert model(torch.zeros(1, *shape)).shape[0] == 1
    transform = transform_for(model)
    assert transform.shape == shape
    assert len(transform.mean) == len(transform.std) == shape[0]


def test_the_transform_is_timms_data_config() -> None:
    model = create_model("test_efficientnet", pretrained_cfg_overlay={"crop_pct": 0.8, "interpolation": "bilinear"})
    config = timm.data.resolve_model_data_config(model)
    transform = transform_for(model)
    assert (transform.mean, transform.std) == (config["mean"], config["std"])
    assert (transform.crop_pct, transform.interpolation) == (0.8, "bilinear")
    assert transform_for(model, (3, 64, 64)).shape == (3, 64, 64)
    grey = transform_for(create_model("resnet10t", in_chans=1))
    assert grey.mean == pytest.approx([sum((0.485, 0.456, 0.406)) / 3])
    with pytest.raises(ModelError, match="4 channels, but only 1"):
        transform_for(create_model("resnet10t", in_chans=4))


def test_the_data_must_have_the_models_classes() -> None:
    model = small_vit()
    check_classes(model, tuple("abcde"))
    with pytest.raises(ModelError, match=r"the model has 5 classes, but the data has 3 \(first 'a', last 'c'\)"):
        check_classes(model, tuple("abc"))
    with pytest.raises(ModelError, match="the data has 0"):
        check_classes(model, ())
    check_classes(torch.nn.Linear(2, 5), tuple("abc"))  # which does not say: its answers tell
