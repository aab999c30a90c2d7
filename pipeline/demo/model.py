"""The demo's model: a small vision transformer that was trained on the embedded digits."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from torch import nn

from secateur.pipeline.models.create import create_model

NAME = "vit_tiny_patch16_224"
KWARGS: dict[str, Any] = {
    "img_size": 32,
    "patch_size": 4,
    "in_chans": 1,
    "num_classes": 10,
    "embed_dim": 128,
    "depth": 4,
    "num_heads": 4,
}


def digits_vit() -> nn.Module:
    """The trained model, of timm's class, for pictures `[B, 1, 32, 32]` of digits (`open_data("digits")`)."""
    with as_file(files("secateur.pipeline.demo")) as folder:
        return create_model(NAME, weights=Path(folder) / "digits_vit.safetensors", **KWARGS)
