"""What says how a model is made: a timm name with arguments, in a recipe or left on the model itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from secateur.core.errors import ModelError


@dataclass(frozen=True)
class ModelSpec:
    """A timm model by name and keyword arguments, with weights from a file or timm's own pretrained ones.

    Raises `ModelError` for an empty path and where both kinds of weights are asked for; `create_model` checks the rest.
    """

    name: str
    weights: str | None = None
    pretrained: bool = False
    kwargs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
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
