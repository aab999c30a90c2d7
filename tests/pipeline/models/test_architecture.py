"""Names and arguments that timm refuses."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from secateur.core.errors import ModelError
from secateur.pipeline.models.create import create_model
from tests.pipeline.models.small import VIT


def test_unknown_names_get_near_matches() -> None:
    with pytest.raises(ModelError, match=r"has no model 'deit_tiny_patch16_244'; did you mean 'deit_tiny_patch16_224'"):
        create_model("deit_tiny_patch16_244")
    with pytest.raises(ModelError, match=r"deit_tiny_patch16_224 has no weights 'nope'; its tags are: fb_in1k"):
        create_model("deit_tiny_patch16_224.nope")
    for name in ("hf-hub:timm/resnet18", "resnet18/", ""):
        with pytest.raises(ModelError, match="has no model"):
            create_model(name)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"foo": 3}, r"timm cannot make vit_tiny_patch16_224 with .*unexpected keyword argument 'foo'"),
        ({"num_heads": 7}, r"dim should be divisible by num_heads"),
        ({"features_only": True}, "cannot be used"),
        ({"checkpoint_path": "x"}, "give the file as weights"),
        ({"act_layer": nn.GELU}, "must be plain values"),
    ],
)
def test_bad_arguments_are_one_sentence(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        create_model(VIT, **kwargs)
