"""How timm makes a model's architecture: as recorded on it, or inferred from one that timm made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from timm.models import is_model
from torch import nn

from secateur.core.errors import ModelError
from secateur.pipeline.models.architecture import REFUSED, shapes_of, tags_of
from secateur.pipeline.models.inputs import input_shape
from secateur.pipeline.models.spec import Origin, pretrained_config, recorded_kwargs

_SEEN = ("num_classes", "in_chans", "img_size")


def origin_of(model: nn.Module) -> Origin:
    """How timm makes this architecture: as recorded by `create_model`, or inferred from a model that timm made.

    An inferred origin is checked: the architecture is made again, and all its tensors must have the shapes of the
    model's. Raises `ModelError` when they do not, or when the model is not timm's.
    """
    recorded = getattr(model, "secateur_origin", None)
    if isinstance(recorded, Origin):
        return recorded
    config = pretrained_config(model)
    name = str(config.get("architecture") or "")
    advice = "create it with sc.create_model(name, **kwargs), which remembers how"
    if not is_model(name):
        raise ModelError(f"a {type(model).__name__} does not say which timm model it is: {advice}")
    tag = config.get("tag")
    if tag and tag in tags_of(name):
        name = f"{name}.{tag}"  # the tag decides the data config too
    origin = Origin(name, _visible_kwargs(model, config))
    wanted = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    if shapes_of(origin) != wanted:
        raise ModelError(f"the model is not what timm makes as {name!r} with {dict(origin.kwargs)}: {advice}")
    return origin


def _visible_kwargs(model: nn.Module, config: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments that a model made by timm directly shows: those timm has left, and three that can be seen."""
    channels, height, width = input_shape(model)
    default = tuple(config.get("input_size") or (3, 224, 224))
    seen = {"num_classes": getattr(model, "num_classes", None), "in_chans": channels, "img_size": [height, width]}
    usual = {"num_classes": config.get("num_classes"), "in_chans": default[0], "img_size": list(default[1:])}
    left = {key: value for key, value in recorded_kwargs(model).items() if key not in _SEEN and key not in REFUSED}
    try:
        left = json.loads(json.dumps(left))
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"the model was made with arguments that JSON cannot hold ({error}): "
            "create it with sc.create_model and plain values"
        ) from error
    return {**left, **{key: seen[key] for key in _SEEN if seen[key] != usual[key]}}
