"""timm models by name, with weights from a file, and what is known of their inputs and origin."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError

import timm
import torch
from timm.data.config import resolve_model_data_config
from timm.models import get_pretrained_cfg, is_model, split_model_name_tag
from torch import nn

from secateur.core.errors import ModelError, near_matches
from secateur.pipeline.data.transform import Transform
from secateur.pipeline.models.weights_file import check_finite, classes_in, fill, read_checkpoint

_log = logging.getLogger(__name__)

_NO_KWARGS = {
    "checkpoint_path": "give the file as weights",
    "features_only": "secateur needs the whole classifier",
    "pretrained_cfg": "use pretrained_cfg_overlay for single values",
    "device": "move the model with .to(device)",
    "dtype": "convert the model with .to(dtype)",
}
_HUB_CLIENTS = ("huggingface_hub", "requests", "urllib3", "httpx", "httpcore")
_SEEN = ("num_classes", "in_chans", "img_size")


@dataclass(frozen=True)
class ModelSpec:
    """A timm model by name and keyword arguments, with weights from a file or timm's own pretrained ones.

    Raises `ModelError` for an empty path, and for both kinds of weights; `create_model` checks the rest.
    """

    name: str
    weights: str | None = None
    pretrained: bool = False
    kwargs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.weights == "":
            raise ModelError("model.weights is '', but must be a .safetensors or .pth file, or null for random weights")
        if self.weights and self.pretrained:
            raise ModelError(
                f"model.pretrained is true, but model.weights is {self.weights!r} as well: give one of them"
            )


@dataclass(frozen=True)
class Origin:
    """How timm makes a model's architecture: its name and plain (JSON) keyword arguments, without the weights."""

    name: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)


def create_model(
    spec: ModelSpec | str,
    /,
    weights: str | Path | None = None,
    num_classes: int | None = None,
    *,
    pretrained: bool = False,
    **kwargs: Any,
) -> nn.Module:
    """A timm model in evaluation mode that remembers its `Origin`; arguments given here add to those of a spec.

    `weights` is a `.safetensors` or torch file (`read_checkpoint`); `pretrained` downloads timm's own. Without a
    `num_classes` the number of classes is that of the checkpoint's classifier, where the file has one, and else
    timm's default. Raises `ModelError` when the name is unknown, an argument is refused or the weights do not fit.
    """
    if isinstance(spec, ModelSpec):
        kwargs = {**spec.kwargs, **kwargs}
        name, weights, pretrained = spec.name, weights or spec.weights, pretrained or spec.pretrained
    else:
        name = spec
    if num_classes is not None:
        kwargs["num_classes"] = num_classes
    _check_name(name)
    kwargs = _checked_kwargs(name, kwargs)
    if weights and pretrained:
        raise ModelError(f"the model has both weights ({weights}) and pretrained=True: give one of them")
    tensors = read_checkpoint(weights) if weights else None
    if tensors is not None and "num_classes" not in kwargs:
        found = classes_in(name, tensors)
        if found is not None:
            _log.info("num_classes=%d is taken from the classifier in %s", found, weights)
            kwargs["num_classes"] = found
    model = _build(name, kwargs, pretrained)
    if tensors is not None:
        fill(model, tensors, name, str(weights))
    elif pretrained:
        check_finite(model.state_dict(), f"timm's {name}")
        _warn_of_new_classifier(model, name)
    model.secateur_origin = Origin(name, kwargs)  # type: ignore[assignment]  # nn.Module wants Tensor | Module
    return model.eval()


def origin_of(model: nn.Module) -> Origin:
    """How timm makes this architecture: as recorded by `create_model`, or inferred from a model that timm made.

    An inferred origin is checked: the architecture is made again, and all its tensors must have the shapes of the
    model's. Raises `ModelError` when they do not, or when the model is not timm's.
    """
    recorded = getattr(model, "secateur_origin", None)
    if isinstance(recorded, Origin):
        return recorded
    config = _config(model)
    name = str(config.get("architecture") or "")
    advice = "create it with sc.create_model(name, **kwargs), which remembers how"
    if not is_model(name):
        raise ModelError(f"a {type(model).__name__} does not say which timm model it is: {advice}")
    tag = config.get("tag")
    if tag and tag in _tags(name):
        name = f"{name}.{tag}"  # the tag decides the data config too
    origin = Origin(name, _visible_kwargs(model, config))
    wanted = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    if _shapes(origin) != wanted:
        raise ModelError(f"the model is not what timm makes as {name!r} with {dict(origin.kwargs)}: {advice}")
    return origin


def input_shape(model: nn.Module) -> tuple[int, int, int]:
    """(C, H, W) of one input: what the model was really built for, and where it does not say, timm's data config."""
    config = _config(model)
    size = getattr(getattr(model, "patch_embed", None), "img_size", None)
    size = size or _recorded(model).get("img_size") or tuple(config.get("input_size") or (3, 224, 224))[1:]
    height, width = (size, size) if isinstance(size, int) else tuple(size)
    return _channels(model, config), int(height), int(width)


def transform_for(model: nn.Module, shape: tuple[int, int, int] | None = None) -> Transform:
    """timm's evaluation preprocessing for a model, for inputs of `shape` (its own by default).

    A model of one channel takes grey images; mean and standard deviation are then the means over timm's three.
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
        crop_pct=float(config["crop_pct"]),
        crop_mode=config["crop_mode"],
    )


def check_classes(model: nn.Module, classes: Sequence[str]) -> None:
    """Raises `ModelError` when the model's number of classes is not that of the data."""
    count = getattr(model, "num_classes", None)
    if count != len(classes):
        named = f" (first {classes[0]!r}, last {classes[-1]!r})" if classes else ""
        raise ModelError(
            f"the model has {count} classes, but the data has {len(classes)}{named}: give data of the model's classes, "
            "data.num_classes when the highest labels have no image, or weights trained on these classes"
        )


def _check_name(name: str) -> None:
    architecture, tag = split_model_name_tag(name)
    if not is_model(architecture):
        raise ModelError(
            f"timm {timm.__version__} has no model {name!r}{near_matches(architecture, timm.list_models())} "
            "(timm.list_models() has all names)"
        )
    if tag and tag not in _tags(architecture):
        tags = ", ".join(_tags(architecture)) or "none"
        raise ModelError(f"timm's {architecture} has no weights {tag!r}; its tags are: {tags}")


def _tags(architecture: str) -> list[str]:
    """The tags of the pretrained weights that timm knows for an architecture."""
    return [name.partition(".")[2] for name in timm.list_models(f"{architecture}.*", include_tags=True)]


def _checked_kwargs(name: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as they come back from JSON, so that a model made again from a file is made in the same way."""
    for key, advice in _NO_KWARGS.items():
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


def _build(name: str, kwargs: Mapping[str, Any], pretrained: bool = False) -> nn.Module:
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


def _warn_of_new_classifier(model: nn.Module, name: str) -> None:
    config = get_pretrained_cfg(name)
    if config is not None and getattr(model, "num_classes", None) != config.num_classes:
        _log.warning(
            "the classifier of %s has random weights: timm's pretrained ones are for %d classes, not %s",
            *(name, config.num_classes, getattr(model, "num_classes", None)),
        )


def _is_network(error: BaseException | None) -> bool:
    """Whether a connection failed, or a hub client gave up; looks through the causes too."""
    while error is not None:
        if isinstance(error, ConnectionError | TimeoutError | socket.gaierror | URLError):
            return True
        if type(error).__module__.partition(".")[0] in _HUB_CLIENTS:
            return True
        error = error.__cause__ or error.__context__
    return False


def _config(model: nn.Module) -> Mapping[str, Any]:
    config = getattr(model, "pretrained_cfg", None)
    return config if isinstance(config, Mapping) else {}


def _recorded(model: nn.Module) -> Mapping[str, Any]:
    """The keyword arguments that `create_model`, or timm itself, has left on the model."""
    recorded = getattr(model, "secateur_origin", None)
    if isinstance(recorded, Origin):
        return recorded.kwargs
    left = getattr(model, "_model_args", None)
    return left if isinstance(left, Mapping) else {}


def _visible_kwargs(model: nn.Module, config: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments that a model made by timm directly shows: those timm has left, and three that can be seen."""
    channels, height, width = input_shape(model)
    default = tuple(config.get("input_size") or (3, 224, 224))
    seen = {"num_classes": getattr(model, "num_classes", None), "in_chans": channels, "img_size": [height, width]}
    usual = {"num_classes": config.get("num_classes"), "in_chans": default[0], "img_size": list(default[1:])}
    left = {key: value for key, value in _recorded(model).items() if key not in _SEEN and key not in _NO_KWARGS}
    try:
        left = json.loads(json.dumps(left))
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"the model was made with arguments that JSON cannot hold ({error}): "
            "create it with sc.create_model and plain values"
        ) from error
    return {**left, **{key: seen[key] for key in _SEEN if seen[key] != usual[key]}}


def _shapes(origin: Origin) -> dict[str, tuple[int, ...]]:
    """The shapes of all tensors of the architecture, made without memory for them where its code allows that."""
    try:
        with torch.device("meta"):
            made = _build(origin.name, origin.kwargs)
    except ModelError:  # some constructors compute with their tensors, which meta tensors do not allow
        made = _build(origin.name, origin.kwargs)
    return {key: tuple(tensor.shape) for key, tensor in made.state_dict().items()}


def _channels(model: nn.Module, config: Mapping[str, Any]) -> int:
    """The channels that the first layer reads."""
    channels = _recorded(model).get("in_chans") or getattr(model, "in_chans", None)
    if channels is None and isinstance(config.get("first_conv"), str):
        layer = dict(model.named_modules()).get(config["first_conv"])
        channels = getattr(layer, "in_channels", None)
    return int(channels or (config.get("input_size") or (3, 224, 224))[0])


def _for_channels(values: Sequence[float], channels: int) -> tuple[float, ...]:
    if len(values) == channels:
        return tuple(float(value) for value in values)
    return (sum(values) / len(values),) * channels
