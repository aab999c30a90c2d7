"""What a model takes and answers: the shape of an input, its preprocessing, and its classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from timm.data.config import resolve_model_data_config
from torch import nn

from secateur.core.errors import ModelError
from secateur.pipeline.data.transform import Transform
from secateur.pipeline.models.spec import pretrained_config, recorded_kwargs


def input_shape(model: nn.Module) -> tuple[int, int, int]:
    """(C, H, W) of one input: what the model was really built for, and where it does not say, timm's data config."""
    config = pretrained_config(model)
    size = getattr(getattr(model, "patch_embed", None), "img_size", None)
    size = size or recorded_kwargs(model).get("img_size") or tuple(config.get("input_size") or (3, 224, 224))[1:]
    height, width = (size, size) if isinstance(size, int) else tuple(size)
    return _channels(model, config), int(height), int(width)


def transform_for(model: nn.Module, shape: tuple[int, int, int] | None = None, whole: bool = False) -> Transform:
    """timm's evaluation preprocessing for a model, for inputs of `shape` (its own by default).

    A model of one channel takes grey images; mean and standard deviation are then the means over timm's three. The
    `whole` image is stretched to the input instead of cropped, so that places in it can have labels.

    >>> sc.transform_for(model).shape
    (3, 16, 16)
    """
    channels, height, width = shape or input_shape(model)
    if channels not in (1, 3):
        raise ModelError(f"the model takes images of {channels} channels, but only 1 (grey) and 3 (RGB) are supported")
    config = resolve_model_data_config(model)  # type: ignore[no-untyped-call]  # timm does not annotate it
    return Transform(
        shape=(channels, height, width),
        mean=_for_channels(config["mean"], channels),
        std=_for_channels(config["std"], channels),
        interpolation=config["interpolation"],
        crop_pct=1.0 if whole else float(config["crop_pct"]),
        crop_mode="squash" if whole else config["crop_mode"],
    )


def check_classes(model: nn.Module, classes: Sequence[str]) -> None:
    """Raises `ModelError` when the model's number of classes is not that of the data.

    Of a model that does not say how many it has, as one of the user's own, only its answers tell: `Task.check`.
    """
    count = getattr(model, "num_classes", None)
    if count is not None and count != len(classes):
        named = f" (first {classes[0]!r}, last {classes[-1]!r})" if classes else ""
        raise ModelError(
            f"the model has {count} classes, but the data has {len(classes)}{named}: give data of the model's classes, "
            "data.num_classes when the highest labels have no image, or weights trained on these classes"
        )


def _channels(model: nn.Module, config: Mapping[str, Any]) -> int:
    """The channels that the first layer reads."""
    channels = recorded_kwargs(model).get("in_chans") or getattr(model, "in_chans", None)
    if channels is None and isinstance(config.get("first_conv"), str):
        layer = dict(model.named_modules()).get(config["first_conv"])
        channels = getattr(layer, "in_channels", None)
    return int(channels or (config.get("input_size") or (3, 224, 224))[0])


def _for_channels(values: Sequence[float], channels: int) -> tuple[float, ...]:
    if len(values) == channels:
        return tuple(float(value) for value in values)
    return (sum(values) / len(values),) * channels
