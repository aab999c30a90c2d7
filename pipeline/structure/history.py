"""What was cut from a model since it was made: classes and units, step by step, kept on the model itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn
from torch.nn.modules.conv import _ConvNd

from secateur.core.errors import ModelError, PlanError
from secateur.pipeline.models.origin import Made, made_of
from secateur.pipeline.structure.module_attributes import update
from secateur.pipeline.structure.plan import Plan
from secateur.pipeline.structure.precision import Precision

MOST_NUMBERS = 2**28
"""Of the weights of a layer that took another's place: a classifier of 21,841 classes on 4,096 features has a third."""


@dataclass(frozen=True)
class Classes:
    """The classes that are `kept` out of a model's `of`, by the numbers of their logits and by their `names`.

    Raises `PlanError` for fewer than two classes, one that is named twice, or a number out of range.
    """

    of: int
    kept: tuple[int, ...]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.kept) < 2 or len(set(self.kept)) < len(self.kept) or len(self.names) != len(self.kept):
            raise PlanError(f"the classes are {', '.join(self.names) or 'none'}: name two or more, each of them once")
        outside = [number for number in self.kept if not 0 <= number < self.of]
        if outside:
            raise PlanError(f"the model has the classes 0 to {self.of - 1}, but {outside[0]} was asked")

    def to_json(self) -> dict[str, object]:
        """The classes as plain JSON values."""
        return {"of": self.of, "kept": list(self.kept), "names": list(self.names)}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Classes:
        """The classes that `to_json` wrote."""
        return Classes(int(content["of"]), tuple(content["kept"]), tuple(content["names"]))


@dataclass(frozen=True)
class Units:
    """Units that were removed by a `plan`, with the modules `adapted` whose code was then taken from the graph.

    `precision` is that in which the model was traced: the code holds its types.
    """

    plan: Plan
    adapted: tuple[str, ...] = ()
    precision: Precision = field(default_factory=Precision)


@dataclass(frozen=True)
class Replaced:
    """Layers that gave way to the same ones in other sizes, as a head for other classes: their tensors' `shapes`."""

    shapes: Mapping[str, tuple[int, ...]]

    def to_json(self) -> dict[str, object]:
        """The shapes as plain JSON values."""
        return {name: list(shape) for name, shape in self.shapes.items()}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Replaced:
        """The shapes that `to_json` wrote."""
        shapes = {str(name): tuple(int(size) for size in shape) for name, shape in content.items()}
        for name, shape in shapes.items():
            if min(shape, default=1) < 1 or math.prod(shape) > MOST_NUMBERS:
                raise ValueError(
                    f"{name} has the sizes {list(shape)[:5]}, but a layer has 1 to {MOST_NUMBERS:,} weights"
                )
        return Replaced(shapes)

    def again(self, model: nn.Module, maker: str) -> nn.Module:
        """The model that `maker` made with its layers in these sizes, in place; their numbers are to be filled in.

        Raises `ModelError` where it has no such layers.
        """
        paths = dict.fromkeys(name.rpartition(".")[0] for name in self.shapes)
        modules = dict(model.named_modules())
        for path in paths:
            layer = modules.get(path)
            if layer is None or not is_plain(layer):
                raise ModelError(
                    f"{maker} has a {type(layer).__name__} as {path}, where a layer of torch got another size: give "
                    "what made it then"
                )
            assert isinstance(layer, nn.Linear | _ConvNd)  # for the type checker
            before = tuple(layer.weight.shape)
            for name, shape in self.shapes.items():
                parent, _, leaf = name.rpartition(".")
                if parent == path:
                    old = layer.get_parameter(leaf)
                    setattr(layer, leaf, nn.Parameter(old.new_zeros(shape), requires_grad=old.requires_grad))
            update(layer, before, range(before[0]))
            if getattr(model, "get_classifier", lambda: None)() is layer:  # of timm, which knows their number
                model.num_classes = self.shapes[f"{path}.weight"][0]  # type: ignore[assignment]  # nn.Module types every attribute as Tensor | Module
        return model


def is_plain(layer: nn.Module) -> bool:
    """Whether the shapes of a layer's tensors say everything of it: a linear one, or a convolution of single pixels."""
    if type(layer) not in (nn.Conv1d, nn.Conv2d, nn.Conv3d):
        return type(layer) is nn.Linear
    assert isinstance(layer, _ConvNd)  # for the type checker
    return layer.groups == 1 and {*layer.kernel_size, *layer.stride} == {1} and {*layer.padding} == {0}


Step = Classes | Units | Replaced


@dataclass(frozen=True)
class History:
    """How a model was `made`, what was cut from it, and the `shapes` that its tensors then had.

    `changed` says what was done to it by other means, which cannot be done again; empty where nothing was.
    """

    made: Made
    steps: tuple[Step, ...]
    shapes: Mapping[str, tuple[int, ...]]
    changed: str = ""


def remember(small: nn.Module, before: nn.Module, step: Step) -> None:
    """Leaves on `small` that it is the model `before` after a step."""
    past = history_of(before)
    small.secateur_history = replace(past, steps=(*past.steps, step), shapes=shapes_in(small))  # type: ignore[assignment]  # nn.Module types every attribute as Tensor | Module


def history_of(model: nn.Module) -> History:
    """What was left on a model, with the layers that were replaced since; of one that was not cut what it shows."""
    found = getattr(model, "secateur_history", None)
    if not isinstance(found, History):
        made = made_of(model)
        return History(made, (), made.shapes)
    now = shapes_in(model)
    odd = {
        name: now.get(name, ()) for name in found.shapes.keys() | now.keys() if found.shapes.get(name) != now.get(name)
    }
    if not odd:
        return found
    layers = {name.rpartition(".")[0] for name in odd}
    if found.shapes.keys() == now.keys() and all(is_plain(model.get_submodule(path)) for path in layers):
        return replace(found, steps=(*found.steps, Replaced(odd)), shapes=now)
    return replace(found, changed=found.changed or differences(found.shapes, now))


def shapes_in(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """The shapes of a model's tensors by name."""
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def differences(wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> str:
    """How many tensors differ, with the first, or an empty string."""
    odd = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if not odd:
        return ""
    return f"{len(odd)} tensors differ, first {odd[0]!r} ({found.get(odd[0])} instead of {wanted.get(odd[0])})"


def steps_of(model: nn.Module) -> tuple[Step, ...]:
    """What was cut from a model, in order."""
    found = getattr(model, "secateur_history", None)
    return found.steps if isinstance(found, History) else ()


def plan_of(model: nn.Module) -> Plan | None:
    """The plan that a model was last pruned by, or None for a dense one."""
    return next((step.plan for step in reversed(steps_of(model)) if isinstance(step, Units)), None)


def classes_of(model: nn.Module) -> Classes | None:
    """The classes that a model was last specialised to, or None where it has all of them."""
    return next((step for step in reversed(steps_of(model)) if isinstance(step, Classes)), None)
