"""Folders that transformers wrote: the same answers and the same pixels as transformers itself gives."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from secateur.core.errors import ModelError
from secateur.pipeline.models.create import create_model, factory_of
from secateur.pipeline.models.hub_folder import spec_of_hub_folder
from secateur.pipeline.models.inputs import transform_for
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.plan.make import make_plan
from secateur.pipeline.scores.score import score
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.storage import load, save
from secateur.pipeline.structure.surgery import prune

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
SQUARE, EDGE, CROP = {"height": 32, "width": 32}, {"shortest_edge": 40}, {"height": 32, "width": 32}
PROCESSORS: dict[str, dict[str, Any]] = {
    "ViT": {"size": SQUARE},
    "DeiT": {"size": {"height": 40, "width": 40}, "crop_size": CROP},
    "ConvNext": {"size": {"shortest_edge": 32}},
    "Bit": {"size": EDGE, "crop_size": CROP, "do_normalize": False},
    "CLIP": {"size": EDGE, "crop_size": CROP, "resample": 2},
}


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    """A small classifier of five classes."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 3, "intermediate_size": 48}
    config = transformers.ViTConfig(**sizes, image_size=32, patch_size=8, num_labels=5)
    model: nn.Module = transformers.ViTForImageClassification(config).eval()
    nn.init.normal_(model.classifier.weight)
    return model


@pytest.fixture(scope="module")
def folder(theirs: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What transformers writes of it, its weights in several files."""
    folder = tmp_path_factory.mktemp("theirs")
    theirs.save_pretrained(folder, max_shard_size="20KB")
    transformers.ViTImageProcessor(**PROCESSORS["ViT"]).save_pretrained(folder)
    return folder


def test_it_answers_as_transformers_does_and_is_pruned_saved_and_loaded(theirs: nn.Module, folder: Path) -> None:
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    spec = spec_of_hub_folder(folder)
    assert spec.kwargs["config"]["num_labels"] == 5 and "id2label" not in spec.kwargs["config"]
    model, images = create_model(spec), torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model(images), theirs(images).logits)
    groups = find_groups(model, images[:1])
    plan = make_plan(
        groups, score(model, groups, [(images, torch.zeros(3).long())], "magnitude"), Budget(macs=0.7), align=1
    )
    small = prune(model, plan, groups)
    save(small, folder / "small")
    again = load(folder / "small", factory_of(spec))
    with torch.no_grad():
        torch.testing.assert_close(again(images), small(images))


@pytest.mark.parametrize("name", list(PROCESSORS))
def test_images_are_prepared_as_its_processor_does(name: str, folder: Path, tmp_path: Path) -> None:
    processor = getattr(transformers, f"{name}ImageProcessor")(**PROCESSORS[name])
    processor.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    (tmp_path / "model.safetensors").touch()
    spec = spec_of_hub_folder(tmp_path)
    bare = nn.Module()
    bare.pretrained_cfg = {**spec.config, "crop_mode": spec.kwargs["crop_mode"]}  # type: ignore[assignment]  # no Tensor
    noise = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((140, 100))
    wanted = processor(image, return_tensors="pt")["pixel_values"][0]
    level = 1 / 255 / min(spec.std or (1.0,))  # torchvision's and Pillow's filters round differently
    assert (transform_for(bare)(image) - wanted).abs().max() < 1.01 * level


def test_another_processor_is_said(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    transformers.LevitImageProcessor().save_pretrained(tmp_path)
    for name in ("config.json", "model.safetensors.index.json"):
        (tmp_path / name).write_text((folder / name).read_text())
    with caplog.at_level(logging.WARNING):
        spec = spec_of_hub_folder(tmp_path)
    assert "has a LevitImageProcessor, whose steps secateur does not know" in caplog.text
    assert (spec.input_size, spec.mean) == ((3, 32, 32), None)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("config.json", {"model_type": "bert"}, "model_type 'bert', of which the installed transformers has no image"),
        (
            "config.json",
            {"model_type": "vit", "architectures": ["ViTModel"]},
            "of a ViTModel, but must be .*: ViTFor",
        ),
        ("preprocessor_config.json", {"image_processor_type": "ViTImageProcessor"}, "no ViTImageProcessor .*'size'"),
    ],
)
def test_what_is_no_classifier_is_one_sentence(
    file: str, content: dict[str, Any], words: str, folder: Path, tmp_path: Path
) -> None:
    for path in folder.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / file).write_text(json.dumps(content))
    with pytest.raises(ModelError, match=words):
        create_model(spec_of_hub_folder(tmp_path))
