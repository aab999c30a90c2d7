"""What says how a model is made: a timm name with arguments, in a recipe or left on the model itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

from secateur.core.errors import ModelError
from secateur.core.import_path import is_import_path
from secateur.core.ranges import Range, check_ranges

Interpolation = Literal["nearest", "bilinear", "bicubic", "box", "hamming", "lanczos"]
CONFIG = ("input_size", "mean", "std", "crop_pct", "interpolation")
"""The keys of a recipe's model that are keys of timm's data config too."""


@dataclass(frozen=True)
class ModelSpec:
    """A timm model by name and keyword arguments, with weights from a file or timm's own pretrained ones.

    A name such as `mine.nets:unet` is the import path of a function of the user's own. Raises `ModelError` for an empty
    path, where both kinds of weights are asked for, and for preprocessing that there is not; `create_model` checks the
    rest.
    """

    name: str
    """A timm name (`deit_tiny_patch16_224`), or the import path of your own function that makes the model
    (`mine.nets:unet`).
    """
    weights: str | None = None
    """The weights, a .safetensors or torch file or a folder of the Hugging Face hub; null for those of timm
    (`pretrained`) or random ones.
    """
    pretrained: bool = False
    """Whether timm's own pretrained weights are downloaded."""
    ema: bool | None = None
    """Whether a checkpoint's averaged weights are taken, or those of the last step; null: averaged, where there are."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the architecture, such as `{img_size: 32, num_classes: 10}`; plain values."""
    input_size: tuple[int, int, int] | None = None
    """Channels, height and width of an input; null: what the model's own config says."""
    mean: tuple[float, ...] | None = None
    """The mean of each channel, or of all of them, on the scale of pixels from 0 to 1; null: of the model's config."""
    std: tuple[float, ...] | None = None
    """The standard deviation of each channel, or of all of them, more than 0; null: of the model's config."""
    crop_pct: float | None = None
    """The share of the resized image's side that the crop in its middle takes; null: of the model's config."""
    interpolation: Interpolation | None = None
    """How images are resized; null: as the model's config says."""

    def __post_init__(self) -> None:
        if is_import_path(self.name) and self.pretrained:
            raise ModelError(f"model.pretrained is true, but timm has no weights for {self.name}: give model.weights")
        if self.weights == "":
            raise ModelError("model.weights is '', but must be a .safetensors or .pth file, or null for random weights")
        if self.weights and self.pretrained:
            raise ModelError(f"model.pretrained is true, but model.weights is {self.weights!r}: give one of them")
        if self.ema is not None and not self.weights:
            raise ModelError(f"model.ema is {self.ema}, but chooses between the weights of a file: give model.weights")
        if twice := [key for key in ("img_size", "in_chans") if self.input_size is not None and key in self.kwargs]:
            raise ModelError(
                f"model.input_size is {list(self.input_size or ())}, but model.kwargs has {twice[0]} too: give one"
            )
        whole = {"input_size": Range(1), "mean": Range(-1000, 1000), "std": Range(0, 1000, strict=True)}
        check_ranges(self, "model", {**whole, "crop_pct": Range(0.01, 1)}, ModelError)
        for name in ("mean", "std"):
            values = getattr(self, name)
            if values is not None and len(values) not in (1, 3):
                raise ModelError(f"model.{name} is {list(values)}, but must be one number for all channels, or three")

    @property
    def config(self) -> dict[str, Any]:
        """The preprocessing that is said here and not left to the model, by the names of timm's data config."""
        said = {name: getattr(self, name) for name in CONFIG}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in said.items()
            if value is not None
        }


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
