"""How a model was made before anything was cut from it: by timm, which is checked, or by somebody else's code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from timm.models import is_model
from torch import nn

from secateur.core.errors import ModelError
from secateur.pipeline.models.architecture import REFUSED, shapes_of, tags_of
from secateur.pipeline.models.inputs import input_shape
from secateur.pipeline.models.spec import Origin, OwnModel, pretrained_config, recorded_kwargs

_SEEN = ("num_classes", "in_chans", "img_size")
_ADVICE = "create it with sc.create_model(name, **kwargs), which remembers how"


@dataclass(frozen=True)
class Made:
    """What a model says of how it was made, with the shapes that its tensors had then.

    `claims` are what it may be, the likeliest first; `reason` says why there is none. `origin` checks them.
    """

    claims: tuple[Origin, ...]
    kind: str
    shapes: Mapping[str, tuple[int, ...]]
    reason: str = ""

    def origin(self) -> Origin | OwnModel:
        """The first claim of which timm makes all tensors in these shapes, or else that the model is its maker's own.

        timm makes the architecture again for it, where it can without memory for its tensors.
        """
        wanted = dict(self.shapes)
        for claim in self.claims:
            try:
                if shapes_of(claim) == wanted:
                    return claim
            except ModelError:  # timm cannot make it with what the model shows
                continue
        return OwnModel(self.kind)


def made_of(model: nn.Module) -> Made:
    """What a model, from which nothing was cut, says of how it was made."""
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    try:
        return Made(_claims(model), kind, shapes)
    except ModelError as error:
        return Made((), kind, shapes, str(error))


def origin_of(model: nn.Module) -> Origin:
    """How timm makes this architecture: as recorded by `create_model`, or inferred from a model that timm made.

    It is checked: the architecture is made again, and all its tensors must have the shapes of the model's. Raises
    `ModelError` when they do not, or when the model is not timm's.
    """
    made = made_of(model)
    found = made.origin()
    if isinstance(found, Origin):
        return found
    if not made.claims:
        raise ModelError(made.reason)
    claim = made.claims[0]
    raise ModelError(f"the model is not what timm makes as {claim.name!r} with {dict(claim.kwargs)}: {_ADVICE}")


def _claims(model: nn.Module) -> tuple[Origin, ...]:
    """The recorded origin, and that with another classifier; without a record, what timm has left on the model."""
    recorded = getattr(model, "secateur_origin", None)
    config = pretrained_config(model)
    if isinstance(recorded, Origin):
        count = getattr(model, "num_classes", None)
        if not isinstance(count, int) or count == recorded.kwargs.get("num_classes"):
            return (recorded,)
        return recorded, replace(recorded, kwargs={**recorded.kwargs, "num_classes": count})
    name = str(config.get("architecture") or "")
    if not is_model(name):
        raise ModelError(f"a {type(model).__name__} does not say which timm model it is: {_ADVICE}")
    tag = config.get("tag")
    if tag and tag in tags_of(name):
        name = f"{name}.{tag}"  # the tag decides the data config too
    return (Origin(name, _visible_kwargs(model, config)),)


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
