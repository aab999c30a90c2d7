"""A small vision transformer, its weights in a file, and how two models compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from secateur.pipeline.models.create import create_model

VIT = "vit_tiny_patch16_224"


SMALL: dict[str, Any] = {"img_size": 16, "patch_size": 4, "embed_dim": 48, "depth": 2, "num_heads": 3}


def small_vit(**kwargs: Any) -> nn.Module:
    return create_model(VIT, **{**SMALL, "num_classes": 5, **kwargs})


def same_weights(one: nn.Module, two: nn.Module) -> bool:
    left, right = one.state_dict(), two.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def write_safetensors(tensors: dict[str, Tensor], path: Path) -> Path:
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)
    return path
