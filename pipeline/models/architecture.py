"""timm's architectures by name: which there are, with which arguments, and made with one sentence for every failure."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.error import URLError

import timm
import torch
from timm.models import is_model, split_model_name_tag
from torch import nn

from secateur.core.errors import ModelError, near_matches
from secateur.pipeline.models.spec import Origin

REFUSED = {
    "checkpoint_path": "give the file as weights",
    "features_only": "secateur needs the whole classifier",
    "pretrained_cfg": "use pretrained_cfg_overlay for single values",
    "device": "move the model with .to(device)",
    "dtype": "convert the model with .to(dtype)",
}
_HUB_CLIENTS = ("huggingface_hub", "requests", "urllib3", "httpx", "httpcore")


def check_name(name: str) -> None:
    architecture, tag = split_model_name_tag(name)
    if not is_model(architecture):
        raise ModelError(
            f"timm {timm.__version__} has no model {name!r}{near_matches(architecture, timm.list_models())} "
            "(timm.list_models() has all names)"
        )
    if tag and tag not in tags_of(architecture):
        tags = ", ".join(tags_of(architecture)) or "none"
        raise ModelError(f"timm's {architecture} has no weights {tag!r}; its tags are: {tags}")


@cache
def tags_of(architecture: str) -> tuple[str, ...]:
    """The tags of the pretrained weights that timm knows for an architecture."""
    return tuple(name.partition(".")[2] for name in timm.list_models(f"{architecture}.*", include_tags=True))


def checked_kwargs(name: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as they come back from JSON, so that a model made again from a file is made in the same way."""
    for key, advice in REFUSED.items():
        if key in kwargs:
            raise ModelError(f"the argument {key!r} cannot be used for {name}: {advice}")
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(kwargs), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"the arguments of {name} must be plain values (numbers, text, lists, dictionaries): {error}"
        ) from error
    return {key: value for key, value in plain.items() if value is not None}


def _tuples(value: Any) -> Any:
    """A JSON value with tuples for lists: several timm models take a pair only as a tuple."""
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    return {key: _tuples(item) for key, item in value.items()} if isinstance(value, dict) else value


def build(name: str, kwargs: Mapping[str, Any], pretrained: bool = False) -> nn.Module:
    try:
        model: nn.Module = timm.create_model(name, pretrained=pretrained, **_tuples(dict(kwargs)))
        return model
    except Exception as error:  # timm, its hub client and the model's own code raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        if pretrained and "No pretrained weights" in reason:
            raise ModelError(f"timm has no pretrained weights for {name!r}: give a file as weights") from error
        if pretrained and _is_network(error):
            raise ModelError(
                f"cannot download timm's weights for {name} ({reason}): connect to the network, or fetch the file "
                "elsewhere and give it as weights"
            ) from error
        raise ModelError(f"timm cannot make {name} with {dict(kwargs)}: {reason}; change model.kwargs") from error


def shapes_of(origin: Origin) -> dict[str, tuple[int, ...]]:
    """The shapes of all tensors of the architecture, made without memory for them where its code allows that."""
    try:
        with torch.device("meta"):
            made = build(origin.name, origin.kwargs)
    except ModelError:  # some constructors compute with their tensors, which meta tensors do not allow
        made = build(origin.name, origin.kwargs)
    return {key: tuple(tensor.shape) for key, tensor in made.state_dict().items()}


def _is_network(error: BaseException | None) -> bool:
    """Whether a connection failed, or a hub client gave up; looks through the causes too."""
    while error is not None:
        if isinstance(error, ConnectionError | TimeoutError | socket.gaierror | URLError):
            return True
        if type(error).__module__.partition(".")[0] in _HUB_CLIENTS:
            return True
        error = error.__cause__ or error.__context__
    return False
