"""What says how a model is made: a timm name with arguments, in a recipe or left on the model itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from secateur.core.errors import ModelError
from secateur.core.import_path import is_import_path


@dataclass(frozen=True)
class ModelSpec:
    """A timm model by name and keyword arguments, with weights from a file or timm's own pretrained ones.

    A name such as `mine.nets:unet` is the import path of a function of the user's own. Raises `ModelError` for an empty
    path, where both kinds of weights are asked for, and for an input size that belongs to another kind of model;
    `create_model` checks the rest.
    """

    name: str
    """A timm name (`deit_tiny_patch16_224`), or the import path of your own function that makes the model
    (`mine.nets:unet`).
    """
    weights: str | None = None
    """The weights, a .safetensors or torch file; null for those of timm (`pretrained`) or random ones."""
    pretrained: bool = False
    """Whether timm's own pretrained weights are downloaded."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the architecture, such as `{img_size: 32, num_classes: 10}`; plain values."""
    input_size: tuple[int, int, int] | None = None
    """Channels, height and width of an input of a model by its import path; for timm's models, give `kwargs`."""

    def __post_init__(self) -> None:
        own = is_import_path(self.name)
        if self.input_size is not None and (not own or min(self.input_size) < 1):
            raise ModelError(
                f"model.input_size is {list(self.input_size)}, but must be channels, height and width of 1 or more, of "
                "a model by its import path; of timm's models, give img_size and in_chans in model.kwargs"
            )
        if own and self.pretrained:
            raise ModelError(f"model.pretrained is true, but timm has no weights for {self.name}: give model.weights")
        if self.weights == "":
            raise ModelError("model.weights is '', but must be a .safetensors or .pth file, or null for random weights")
        if self.weights and self.pretrained:
            raise ModelError(f"model.pretrained is true, but model.weights is {self.weights!r}: give one of them")


@dataclass(frozen=True)
class Origin:
    """How timm makes a model's architecture: its name and plain (JSON) keyword arguments, without the weights."""

    name: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OwnModel:
    """A model that timm does not make, by the qualified name of its class, which is for messages and never imported."""

    kind: str


def pretrained_config(model: nn.Module) -> Mapping[str, Any]:
    """timm's record of a model's pretrained weights: architecture, input size, classifier; empty for other models."""
    config = getattr(model, "pretrained_cfg", None)
    return config if isinstance(config, Mapping) else {}


def recorded_kwargs(model: nn.Module) -> Mapping[str, Any]:
    """The keyword arguments that `create_model`, or timm itself, has left on the model."""
    recorded = getattr(model, "secateur_origin", None)
    if isinstance(recorded, Origin):
        return recorded.kwargs
    left = getattr(model, "_model_args", None)
    return left if isinstance(left, Mapping) else {}
