"""Models for some of their classes only: the classifier keeps the rows of these, and nothing else changes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from secateur.core.errors import ModelError, SurgeryError
from secateur.core.input_spec import InputSpec
from secateur.pipeline.models.inputs import input_shape
from secateur.pipeline.structure.comparison import comparison_dtype
from secateur.pipeline.structure.cutting import copied_with
from secateur.pipeline.structure.history import Classes, remember
from secateur.pipeline.structure.one_dtype import OneDtype
from secateur.pipeline.structure.outputs import TOLERANCE, comparison_input, relative_difference
from secateur.pipeline.structure.verification_weights import calibrated, verification_weights


def specialised(model: nn.Module, classes: Classes) -> nn.Module:
    """A copy of a model with the logits of the kept classes only, in their order, which are proven to be the same.

    Raises `ModelError` when the model has no classifier of its classes, and `SurgeryError` when a logit differs.
    """
    small = cut_classifier(model, classes)
    rows = torch.tensor(classes.kept)
    index = {(name, 0): rows for layer in classifier_layers(model, classes.of) for name in _tensors_of(model, layer)}
    dtype = comparison_dtype(model)
    weights = verification_weights(model)  # a classifier of zeros would agree with any other
    with torch.no_grad():
        copied = copied_with(model, weights.tensors(model, dtype)).eval()
        x = comparison_input(InputSpec.shaped(input_shape(model)), next(copied.parameters()).device, dtype)
        with OneDtype(dtype):
            outputs, weights = calibrated(copied, weights, x)
            found = copied_with(small, weights.tensors(small, dtype, index)).eval()(x)
    if not relative_difference([found], [outputs[:, list(classes.kept)]]) <= TOLERANCE[dtype]:
        raise SurgeryError("cutting the classifier has changed the logits of the kept classes: report the model")
    return small


def cut_classifier(model: nn.Module, classes: Classes) -> nn.Module:
    """The copy, unchecked: every layer of the classifier has the rows of the kept classes."""
    if getattr(model, "num_classes", None) != classes.of:
        raise ModelError(
            f"the model has {getattr(model, 'num_classes', 'no')} classes, but its classifier is to be cut from "
            f"{classes.of}: give classes of this model"
        )
    layers = classifier_layers(model, classes.of)
    rows = torch.tensor(classes.kept)
    cuts = {
        name: model.get_parameter(name).detach().index_select(0, rows.to(model.get_parameter(name).device))
        for layer in layers
        for name in _tensors_of(model, layer)
    }
    small = copied_with(model, cuts)
    for name in layers:
        layer = small.get_submodule(name)
        setattr(layer, "out_features" if isinstance(layer, nn.Linear) else "out_channels", len(classes.kept))
    for module in small.modules():
        if getattr(module, "num_classes", None) == classes.of:
            module.num_classes = len(classes.kept)  # type: ignore[assignment]  # nn.Module wants Tensor | Module
    remember(small, model, classes)
    return small


def classifier_layers(model: nn.Module, count: int) -> list[str]:
    """The names of the layers that make the logits, as timm gives them; raises `ModelError` when these do not fit."""
    config = getattr(model, "pretrained_cfg", None) or {}
    named = config.get("classifier") or ()
    names = [named] if isinstance(named, str) else list(named)
    modules = dict(model.named_modules())
    layers = [name for name in names if isinstance(modules.get(name), nn.Linear | nn.Conv2d)]
    if not layers or len(layers) < len(names) or any(len(_weight(modules[name])) != count for name in layers):
        raise ModelError(
            f"timm names {', '.join(names) or 'no layer'} as the classifier of a {type(model).__name__}, which is no "
            f"linear layer of {count} classes: keep all classes"
        )
    return layers


def _tensors_of(model: nn.Module, layer: str) -> list[str]:
    return [f"{layer}.{key}" for key, _ in model.get_submodule(layer).named_parameters(recurse=False)]


def _weight(layer: nn.Module) -> Tensor:
    weight = layer.weight
    assert isinstance(weight, Tensor)  # for the type checker: linear layers and convolutions have one
    return weight
