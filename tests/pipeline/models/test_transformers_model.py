"""Classifiers by what a config.json says: those of transformers alone, with the weights of older and newer files."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from secateur.core.errors import ModelError
from secateur.pipeline.models.fill import fill
from secateur.pipeline.models.transformers_model import classifier

pytest.importorskip("transformers", reason="transformers is not installed")
CONFIG: dict[str, Any] = {
    "model_type": "vit",
    "hidden_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 3,
    "num_labels": 4,
    "intermediate_size": 16,
    "image_size": 16,
    "patch_size": 8,
}
OLD, NEW = "vit.encoder.layer.0.attention.attention.query", "vit.layers.0.attention.q_proj"


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return classifier(CONFIG)


def test_it_answers_with_logits(model: nn.Module) -> None:
    assert model(torch.zeros(2, 3, 16, 16)).shape == (2, 4)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"model_type": "bert"}, "model_type 'bert', of which the installed transformers has no image"),
        ({"model_type": "no such"}, "model_type 'no such'"),
        ({"model_type": 5}, "model_type 5"),
        ({"model_type": "vit", "architectures": ["ViTModel"]}, "of a ViTModel, but must be .*: ViTForImageClassif"),
    ],
)
def test_what_is_no_classifier_is_one_sentence(content: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        classifier(content)


def test_weights_by_the_names_of_older_files_are_taken(model: nn.Module) -> None:
    tensors = {name: torch.randn_like(value) for name, value in model.state_dict().items()}
    assert f"{NEW}.weight" in tensors, "transformers has other names now: change OLD and NEW"
    fill(model, {name.replace(NEW, OLD): value for name, value in tensors.items()}, "vit", "the test")
    for name, value in model.state_dict().items():
        assert torch.equal(value, tensors[name])


def test_weights_of_another_size_or_with_one_missing_are_refused(model: nn.Module) -> None:
    tensors = dict(model.state_dict())
    with pytest.raises(ModelError, match="does not fit"):
        fill(classifier({**CONFIG, "intermediate_size": 20}), tensors, "vit", "the test")
    del tensors["classifier.bias"]
    with pytest.raises(ModelError, match="1 of 24 tensors missing"):
        fill(model, tensors, "vit", "the test")
