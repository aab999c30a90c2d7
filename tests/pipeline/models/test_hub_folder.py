"""Folders of the Hugging Face hub, as timm writes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from timm.models import save_for_hf

from secateur.core.errors import ModelError
from secateur.pipeline.models.create import create_model
from secateur.pipeline.models.hub_folder import is_hub_folder, spec_of_hub_folder
from secateur.pipeline.models.inputs import transform_for
from tests.pipeline.models.small import SMALL, VIT, same_weights


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of seven classes with preprocessing of its own, saved by timm."""
    folder = tmp_path_factory.mktemp("hub")
    overlay = {"mean": (0.2, 0.3, 0.4), "crop_pct": 0.7, "interpolation": "bilinear", "crop_mode": "border"}
    model = timm.create_model(VIT, num_classes=7, pretrained_cfg_overlay=overlay, **SMALL)
    torch.nn.init.normal_(model.head.bias)
    save_for_hf(model, folder, model_config={"model_args": SMALL})
    return folder


def test_the_folder_gives_architecture_weights_and_preprocessing(folder: Path) -> None:
    assert is_hub_folder(folder)
    spec = spec_of_hub_folder(folder)
    assert (spec.name, spec.kwargs["num_classes"]) == (VIT, 7)
    assert (spec.mean, spec.crop_pct, spec.interpolation) == ((0.2, 0.3, 0.4), 0.7, "bilinear")
    model, theirs = create_model(spec), timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert same_weights(model, theirs)
    assert transform_for(model) == transform_for(theirs)
    assert transform_for(model).crop_mode == "border"


def test_the_folder_is_weights_too(folder: Path) -> None:
    assert same_weights(create_model(VIT, folder, **SMALL), create_model(spec_of_hub_folder(folder)))


def test_timms_older_files_have_all_in_one_place(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architecture": VIT, "num_classes": 7, "mean": [0.1, 0.2, 0.3]}))
    (tmp_path / "pytorch_model.bin").touch()
    spec = spec_of_hub_folder(tmp_path)
    assert (spec.kwargs, spec.mean) == ({"num_classes": 7}, (0.1, 0.2, 0.3))
    assert spec.weights == str(tmp_path / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"architectures": ["Net"]}', "is of no model, with neither timm's architecture nor transformers' model_type"),
        ("{}", "is of no model, with neither timm's architecture nor transformers' model_type"),
        ("[1]", "holds a list, but the hub's files hold keys"),
        ("{", r"cannot read .*config\.json"),
        (
            json.dumps({"architecture": VIT}),
            "has config.json but neither model.safetensors nor .* nor pytorch_model.bin",
        ),
    ],
)
def test_another_folder_is_one_sentence(content: str, message: str, tmp_path: Path) -> None:
    assert not is_hub_folder(tmp_path)
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ModelError, match=message):
        spec_of_hub_folder(tmp_path)
