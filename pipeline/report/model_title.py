"""What a model is called on a page."""

from __future__ import annotations

from pathlib import Path

from secateur.core.import_path import is_import_path
from secateur.pipeline.models.spec import ModelSpec
from secateur.pipeline.models.transformers_model import FACTORY

FILES = frozenset({"model", "pytorch_model"})
"""What the hub calls the weights of every model, or the beginning of that."""


def model_title(spec: ModelSpec) -> str:
    """timm's name, that of the user's function, or for a model of transformers that of its folder."""
    if not is_import_path(spec.name):
        return spec.name
    if spec.name == FACTORY and spec.weights:
        path = Path(spec.weights)
        folder = path.parent if path.name.partition(".")[0].partition("-")[0] in FILES else path
        if folder.name:
            return folder.name.partition(".")[0] if folder.suffix in (".safetensors", ".bin") else folder.name
    return spec.name.rpartition(":")[2]
