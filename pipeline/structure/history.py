"""What was cut from a model since it was made: classes and units, step by step, kept on the model itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from secateur.core.errors import PlanError
from secateur.pipeline.models.origin import Made, made_of
from secateur.pipeline.structure.plan import Plan
from secateur.pipeline.structure.precision import Precision


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


Step = Classes | Units


@dataclass(frozen=True)
class History:
    """How a model was `made`, what was cut from it, and the `shapes` that its tensors then had."""

    made: Made
    steps: tuple[Step, ...]
    shapes: Mapping[str, tuple[int, ...]]


def remember(small: nn.Module, before: nn.Module, step: Step) -> None:
    """Leaves on `small` that it is the model `before` after a step."""
    past = history_of(before)
    shapes = {name: tuple(tensor.shape) for name, tensor in small.state_dict().items()}
    small.secateur_history = History(past.made, (*past.steps, step), shapes)  # type: ignore[assignment]  # nn.Module types every attribute as Tensor | Module


def history_of(model: nn.Module) -> History:
    """What was left on a model, or of one from which nothing was cut what it shows."""
    found = getattr(model, "secateur_history", None)
    if isinstance(found, History):
        return found
    made = made_of(model)
    return History(made, (), made.shapes)


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
