"""Attributes in which timm's models say how wide their features are, brought up to date after a cut."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from secateur.core.input_spec import InputSpec
from secateur.core.model_inputs import call
from secateur.core.modules import evaluating
from secateur.pipeline.structure.cutting import example_for

FEATURES, CLASSIFIER, EMBEDDING = "forward_features", "the classifier's input", "patch_embed"
WIDTHS: dict[str, tuple[str, ...]] = {
    "num_features": (FEATURES, CLASSIFIER),
    "head_hidden_size": (CLASSIFIER,),
    "embed_dim": (EMBEDDING, FEATURES),
}
"""For each attribute of a model the places that it may tell the width of, the first that was as wide as it says."""
HEAD: dict[str, tuple[str, ...]] = {"in_features": ("head",), "num_features": (CLASSIFIER,)}
"""The same of a head that can be reset."""


def update_feature_widths(small: nn.Module, dense: nn.Module, inputs: InputSpec) -> None:
    """Gives the attributes that timm's `reset_classifier` and features go by the widths that `small` has, in place.

    Both models run once on one sample, to see what was as wide in the `dense` one as an attribute says. Models that are
    not timm's are left alone.
    """
    if not hasattr(dense, "reset_classifier") and not _feature_info(dense):
        return
    shapes = _shapes(dense, inputs), _shapes(small, inputs)
    _update(small, WIDTHS, *shapes)
    for name, module in small.named_modules():
        if name and callable(getattr(module, "reset", None)):
            _update(
                module, {key: tuple(_place(name, place) for place in places) for key, places in HEAD.items()}, *shapes
            )
    for info in _feature_info(small):
        info["num_chs"] = _width(info["num_chs"], str(info["module"]), *shapes)


def _update(
    module: nn.Module, widths: Mapping[str, tuple[str, ...]], before: Mapping[str, Any], after: Mapping[str, Any]
) -> None:
    """Updates those attributes of a module that it holds itself."""
    for key, places in widths.items():
        value = vars(module).get(key)
        if isinstance(value, int):
            found = (_width(value, place, before, after) for place in places)
            setattr(module, key, next((width for width in found if width != value), value))


def _width(value: int, place: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> int:
    """The length that a dimension of `value` at a place has now; the value itself where none was cut."""
    pairs = zip(before.get(place, ()), after.get(place, ()), strict=False)
    return next((int(new) for old, new in pairs if old == value != new), value)


def _place(name: str, place: str) -> str:
    return f"the input of {name}" if place == "head" else place


def _feature_info(model: nn.Module) -> list[dict[str, Any]]:
    """What a model tells of its stages, with the module that makes each."""
    found = getattr(model, "feature_info", None) or []
    return [
        one for one in getattr(found, "info", found) if isinstance(one, dict) and {"num_chs", "module"} <= one.keys()
    ]


def _shapes(model: nn.Module, inputs: InputSpec) -> dict[str, torch.Size]:
    """The shapes of what the places of `WIDTHS` and the modules of the stages see while a model runs."""
    with evaluating(model), torch.no_grad(), _seen(model) as found:
        call(model, example_for(model, inputs))
    return found


@contextmanager
def _seen(model: nn.Module) -> Iterator[dict[str, torch.Size]]:
    found: dict[str, torch.Size] = {}

    def note(place: str, value: object) -> None:
        if isinstance(value, Tensor):
            found[place] = value.shape

    modules = dict(model.named_modules())
    stages = {str(info["module"]) for info in _feature_info(model)} | {EMBEDDING}
    handles = [
        modules[name].register_forward_hook(lambda _module, _inputs, output, name=name: note(name, output))
        for name in stages & modules.keys()
    ]
    classifier = model.get_classifier() if hasattr(model, "get_classifier") else None  # type: ignore[operator]
    classifier = classifier[0] if isinstance(classifier, tuple) else classifier  # that of the class token, then others
    for name, module in modules.items():
        place = CLASSIFIER if module is classifier else _place(name, "head") if hasattr(module, "reset") else ""
        if place and name:
            handles.append(module.register_forward_pre_hook(lambda _module, args, place=place: note(place, *args[:1])))
    features: Any = getattr(model, FEATURES, None)
    own = vars(model).get(FEATURES)

    def watched(*args: Any, **kwargs: Any) -> Any:
        output = features(*args, **kwargs)
        note(FEATURES, output)
        return output

    if features is not None:
        vars(model)[FEATURES] = watched
    try:
        yield found
    finally:
        vars(model).pop(FEATURES, None)
        if own is not None:
            vars(model)[FEATURES] = own
        for handle in handles:
            handle.remove()
