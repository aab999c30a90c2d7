"""A run of seconds whose weights and images are files, for tests that change them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.torch import save_file

from secateur.pipeline.models.create import create_model
from secateur.pipeline.runs.recipe import Recipe, apply_settings, make_recipe

KWARGS = {"img_size": 16, "patch_size": 8, "in_chans": 1, "num_classes": 3, "embed_dim": 24, "depth": 1, "num_heads": 3}
NAME = "vit_tiny_patch16_224"


def make_images(folder: Path, count: int, seed: int) -> None:
    """`count` grey pictures of noise for each of three classes, each class a folder."""
    draws = np.random.default_rng(seed)
    for label in range(3):
        place = folder / f"class{label}"
        place.mkdir(parents=True)
        for number in range(count):
            pixels = draws.integers(0, 256, (16, 16), dtype=np.uint8)
            Image.fromarray(pixels).save(place / f"{number}.png")


def make_weights(path: Path, seed: int) -> None:
    """Random weights of the model, large enough that every unit matters."""
    import torch

    torch.manual_seed(seed)
    state = create_model(NAME, **KWARGS).state_dict()
    save_file({name: 0.3 * torch.randn_like(value) for name, value in state.items()}, path)


def make_inputs(folder: Path) -> None:
    """Weights, relevance rules, images to compute with and images that judge, below `folder`."""
    make_images(folder / "train", 6, 0)
    make_images(folder / "val", 4, 1)
    make_weights(folder / "weights.safetensors", 0)
    (folder / "rules.yaml").write_text("first: gamma\n")


def recipe_of(folder: Path, *settings: str) -> Recipe:
    """The recipe of a run of these inputs."""
    content: dict[str, Any] = {
        "model": {"name": NAME, "kwargs": KWARGS, "weights": str(folder / "weights.safetensors")},
        "data": {"calibration": str(folder / "train"), "evaluation": str(folder / "val")},
        "budget": {"macs": 0.7},
        "score": {"samples_per_class": 3, "method": "lrp", "options": {"composite": str(folder / "rules.yaml")}},
        "export": {"targets": ["onnxruntime:cpu"]},
        "bench": {"targets": ["onnxruntime:cpu", "torch:cpu"], "seconds": 0.05},
        "report": {"images": 3, "examples": 1},
    }
    return make_recipe(apply_settings(content, settings), "the test")
