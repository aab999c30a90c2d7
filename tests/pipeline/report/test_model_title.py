"""A page is headed by what people call a model, and never by an import path."""

from __future__ import annotations

import pytest

from secateur.pipeline.models.spec import ModelSpec
from secateur.pipeline.models.transformers_model import FACTORY
from secateur.pipeline.report.model_title import model_title


@pytest.mark.parametrize(
    ("name", "weights", "title"),
    [
        ("deit_tiny_patch16_224", "x/best.safetensors", "deit_tiny_patch16_224"),
        ("mine.nets:unet", "x/best.pth", "unet"),
        (FACTORY, "x/vit-base-patch16-224", "vit-base-patch16-224"),
        (FACTORY, "x/resnet-1.5/model.safetensors", "resnet-1.5"),
        (FACTORY, "x/swin/model-00001-of-00002.safetensors", "swin"),
        (FACTORY, "x/swin/pytorch_model.bin.index.json", "swin"),
        (FACTORY, "x/mine.safetensors", "mine"),
        (FACTORY, "model.safetensors", "classifier"),
        (FACTORY, None, "classifier"),
    ],
)
def test_what_a_model_is_called(name: str, weights: str | None, title: str) -> None:
    assert model_title(ModelSpec(name, weights)) == title
