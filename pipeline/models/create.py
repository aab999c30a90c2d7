"""Models made by timm, with weights from a file or timm's own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from timm.models import get_pretrained_cfg
from torch import nn

from secateur.core.errors import ModelError, SecateurError
from secateur.core.import_path import imported, is_import_path, takes
from secateur.pipeline.models.architecture import build, check_name, checked_kwargs
from secateur.pipeline.models.arguments import check_arguments, own_arguments
from secateur.pipeline.models.fill import classes_by_shape, classes_in, fill
from secateur.pipeline.models.spec import ModelSpec, Origin, pretrained_config
from secateur.pipeline.models.weights_file import check_finite, read_checkpoint

_log = logging.getLogger(__name__)


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
    timm's default. A name such as `mine.nets:unet` is an import path: that function makes the model. Raises
    `ModelError` when the name is unknown, an argument is refused or the weights do not fit.

    >>> sc.create_model("test_vit", num_classes=10).num_classes
    10
    """
    if not isinstance(spec, ModelSpec):
        spec = ModelSpec(spec)
    kwargs = {**spec.kwargs, **kwargs}
    name, weights, pretrained = spec.name, weights or spec.weights, pretrained or spec.pretrained
    if num_classes is not None:
        kwargs["num_classes"] = num_classes
    if is_import_path(name):
        return _own_model(spec, kwargs, weights)
    check_name(name)
    check_arguments(name, spec.kwargs, "model.kwargs")
    kwargs = checked_kwargs(name, kwargs)
    if spec.config:
        kwargs["pretrained_cfg_overlay"] = {**kwargs.get("pretrained_cfg_overlay", {}), **spec.config}
    if weights and pretrained:
        raise ModelError(f"the model has both weights ({weights}) and pretrained=True: give one of them")
    tensors = read_checkpoint(weights, spec.ema) if weights else None
    if tensors is not None and "num_classes" not in kwargs:
        found = classes_in(name, tensors)
        if found is not None:
            _log.info("num_classes=%d is taken from the classifier in %s", found, weights)
            kwargs["num_classes"] = found
    model = build(name, kwargs, pretrained)
    if tensors is not None:
        fill(model, tensors, name, str(weights))
    elif pretrained:
        check_finite(model.state_dict(), f"timm's {name}")
        _warn_of_new_classifier(model, name)
    return _remembered(model, Origin(name, own_arguments(name, kwargs)))


def dense_of(origin: Origin, where: str) -> nn.Module:
    """The architecture that a saved folder names in the file `where`, without its weights, in evaluation mode.

    It is one of timm's, and nothing is imported, opened or fetched for it. Raises `ModelError` for a name that timm has
    not, and for arguments that a file may not give.
    """
    check_name(origin.name)
    check_arguments(origin.name, origin.kwargs, where)
    kwargs = checked_kwargs(origin.name, origin.kwargs)
    return _remembered(build(origin.name, kwargs), Origin(origin.name, kwargs))


def _remembered(model: nn.Module, origin: Origin) -> nn.Module:
    """The model in evaluation mode, which remembers how timm made it."""
    model.secateur_origin = origin  # type: ignore[assignment]  # nn.Module wants Tensor | Module
    return model.eval()


def factory_of(spec: ModelSpec) -> Callable[[], nn.Module] | None:
    """What makes the architecture of a model by its import path, without weights; None for timm's."""
    if not is_import_path(spec.name):
        return None
    return lambda: create_model(replace(spec, weights=None))


def _own_model(spec: ModelSpec, kwargs: Mapping[str, Any], weights: str | Path | None) -> nn.Module:
    """The model that the user's function makes, which remembers its preprocessing.

    A function that takes `num_classes`, and is given none, is given that of the checkpoint.
    """
    model = _called(spec.name, kwargs)
    if weights:
        tensors = read_checkpoint(weights, spec.ema)
        count = classes_by_shape(model, tensors)
        if count is not None and "num_classes" not in kwargs and takes(spec.name, "num_classes"):
            _log.info("num_classes=%d is taken from the classifier in %s", count, weights)
            model = _called(spec.name, {**kwargs, "num_classes": count})
        fill(model, tensors, spec.name, str(weights))
    if spec.config:
        config = {**pretrained_config(model), **spec.config}
        model.pretrained_cfg = config  # type: ignore[assignment]  # nn.Module wants Tensor | Module
    return model.eval()


def _called(path: str, kwargs: Mapping[str, Any]) -> nn.Module:
    """What the function of an import path makes; raises `ModelError` where that fails or is no module."""
    try:
        model = imported(path)(**kwargs)
    except SecateurError:
        raise
    except Exception as error:  # the user's function may raise anything
        said = " ".join(str(error).split()) or type(error).__name__
        raise ModelError(f"{path} cannot make a model with {dict(kwargs)}: {said}; change model.kwargs") from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"{path} gives a {type(model).__name__}, but must give an nn.Module")
    return model


def _warn_of_new_classifier(model: nn.Module, name: str) -> None:
    config = get_pretrained_cfg(name)
    if config is not None and getattr(model, "num_classes", None) != config.num_classes:
        _log.warning(
            "the classifier of %s has random weights: timm's pretrained ones are for %d classes, not %s",
            *(name, config.num_classes, getattr(model, "num_classes", None)),
        )
