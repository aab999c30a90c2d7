"""What a model is for: what it is taught by, what it is judged by, and which of its numbers are explained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from secateur.core.errors import ModelError
from secateur.core.model_inputs import tensors_in
from secateur.core.options import check_fields
from secateur.core.registry import Registry
from secateur.pipeline.data.truths import LabelKind
from secateur.pipeline.tasks.metric import Meter


class Task(ABC):
    """A task with its options: a frozen dataclass, whose fields are the keys of a recipe's section `task`.

    `outputs` are what the model returns for a batch, `labels` what the loader yields beside its images: of the kind
    `labels` (see `data.truths`). Another package names its own task in the entry points `secateur.tasks`.
    """

    labels: LabelKind
    classifies: ClassVar[bool] = False
    """Whether every image has one class, of which the model has a logit: what is class-wise needs that."""
    activation: ClassVar[Literal["softmax", "sigmoid", "identity", "none"]] = "none"
    """What makes of a model's output `[B, K]` the number of each of the data's classes, where it has one of each."""
    scores_classes: ClassVar[bool] = True
    """Whether the numbers `scores` are those of the data's classes, in their order."""

    def __post_init__(self) -> None:
        check_fields(self, "task")

    @abstractmethod
    def losses(self, outputs: Any, labels: Tensor) -> Tensor:
        """The loss of each image, `[B]`."""

    @abstractmethod
    def meter(self, classes: Sequence[str]) -> Meter:
        """What measures a model on data of these classes (columns, where the labels are numbers)."""

    def scores(self, outputs: Any) -> Tensor:
        """The numbers `[B, K]` that explanations start from: the first tensor, averaged over positions."""
        first = tensors_of(outputs)[0]
        return first.flatten(2).mean(2) if first.ndim > 2 else first

    def divergence(self, found: Any, goal: Any, temperature: float = 1.0) -> Tensor:
        """How far one model's answers are from another's, for each image `[B]`; 0 where they are the same.

        Without another meaning, the squared error relative to the variance of the goal. The `temperature` softens
        predictions of classes.
        """
        total: Tensor | None = None
        for one, other in zip(tensors_of(found), tensors_of(goal), strict=True):
            wanted = other.float().flatten(1)
            part = (one.float().flatten(1) - wanted).square().mean(1) / wanted.var().clamp_min(1e-12)
            total = part if total is None else total + part
        assert total is not None  # for the type checker: there is a tensor
        return total

    def drawn_loss(self, outputs: Any, draws: np.random.Generator) -> Tensor:
        """The loss, summed over the images, of labels drawn from the model's own prediction.

        The second moment of its gradients is the Fisher information. Without another meaning, the prediction is a
        normal distribution of variance 1 around every output, and the gradient at an output is a normal number.
        """
        total: Tensor | None = None
        for tensor in tensors_of(outputs):
            noise = torch.from_numpy(draws.standard_normal(tuple(tensor.shape))).to(tensor)
            total = (tensor * noise).sum() if total is None else total + (tensor * noise).sum()
        assert total is not None  # for the type checker: there is a tensor
        return total

    def check(self, outputs: Any, classes: Sequence[str]) -> None:
        """Raises `ModelError` where what the model returns cannot be the answer for data of these classes."""
        tensors_of(outputs)


_OURS = ("classify", "custom", "detect", "embed", "multilabel", "regress", "segment")
TASKS: Registry[type[Task]] = Registry(
    "task", {name: f"secateur.pipeline.tasks.{name}" for name in _OURS}, "secateur.tasks"
)
register = TASKS.register


def name_of(task: Task) -> str:
    """The name that a task is registered under, or its class's own where it is not."""
    return TASKS.name_of(type(task)) or type(task).__name__


def tensors_of(outputs: object) -> list[Tensor]:
    """The floating-point tensors `[B, ...]` in what a model returns; raises `ModelError` where there are none."""
    found = [tensor for tensor in tensors_in(outputs) if tensor.is_floating_point()]
    if not found:
        raise ModelError(
            f"the model returns a {type(outputs).__name__} without floating-point tensors: give a model whose answers "
            "are tensors [batch, ...], also in tuples or dictionaries"
        )
    return found


def check_shape(outputs: object, shape: Sequence[int | None], what: str) -> None:
    """Raises `ModelError` where a model does not return one tensor `[B, *shape]`; None allows any size."""
    found = list(outputs.shape[1:]) if isinstance(outputs, Tensor) else None
    wanted = ["batch", *("any" if size is None else str(size) for size in shape)]
    if found is None or len(found) != len(shape) or any(b not in (None, a) for a, b in zip(found, shape, strict=True)):
        got = f"a {type(outputs).__name__}" if found is None else f"[{', '.join(map(str, ['batch', *found]))}]"
        raise ModelError(f"the model returns {got}, but {what} needs [{', '.join(wanted)}]: give a model of these data")


@contextmanager
def answering(task: Task, *models: nn.Module) -> Iterator[None]:
    """Within it, the models return the task's `scores` instead of their answers, as a classifier would its logits."""
    handles = [model.register_forward_hook(lambda _module, _inputs, out: task.scores(out)) for model in models]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
