"""What a user says is explained: a function of what the model returns, or a loss of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from secateur.core.errors import ModelError, PlanError
from secateur.core.model_inputs import call, members, moved, samples_of
from secateur.core.modules import device_of, evaluating
from secateur.pipeline.data.loader import Batch, Batches
from secateur.pipeline.tasks.metric import Meter
from secateur.pipeline.tasks.task import Task

Output = Callable[[Any], Tensor]
"""What gives scores `[B, classes, ...]` for what a model returns."""
Loss = Callable[[Any, Any], Tensor]
"""What gives the mean loss of a batch, one number, for what a model returns and its labels."""


@contextmanager
def explaining(model: nn.Module, output: Output | None) -> Iterator[None]:
    """Within it, the model returns what `output` makes of its result; without one, a tensor or the result's `logits`.

    Raises `ModelError` as it runs, where that is no tensor `[B, classes, ...]`.
    """

    def hook(_module: nn.Module, _inputs: Any, result: Any) -> Tensor:
        found = (members(result) or {}).get("logits", result) if output is None else output(result)
        if isinstance(found, Tensor) and found.is_floating_point() and found.ndim > 1:
            return found
        what = f"{found.dtype} {list(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
        if output is not None:
            raise ModelError(f"the output function gives {what}, but must give scores [batch, classes]")
        raise ModelError(
            f"the model returns {what}, but scores explain logits [batch, classes]: give output=..., a function that "
            "makes these of what the model returns, or loss=..."
        )

    handle = model.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@dataclass(frozen=True)
class ByLoss(Task):
    """A model that is judged by a loss alone: the mean over a batch, as the losses of PyTorch are."""

    function: Loss

    labels = "classes"  # of which the function makes what it likes

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise PlanError(f"the loss is {self.function!r}, but must be a function of the result and the labels")

    def losses(self, outputs: Any, labels: Any) -> Tensor:
        """The loss of all images together, `[1]`."""
        found = self.function(outputs, labels)
        if not isinstance(found, Tensor) or found.numel() != 1:
            what = list(found.shape) if isinstance(found, Tensor) else f"a {type(found).__name__}"
            raise PlanError(f"the loss gives {what}, but must give one number, the mean over the batch")
        return found.reshape(1) * samples_of(outputs)

    def drawn_loss(self, outputs: Any, draws: np.random.Generator) -> Tensor:
        """Nothing: which labels a model predicts cannot be known from a loss."""
        raise PlanError(
            "the score draws labels from the model's prediction and looks at no loss: give output=... instead, or "
            "score by taylor"
        )

    def meter(self, classes: Sequence[str]) -> Meter:
        """Nothing: a loss alone is no metric."""
        raise PlanError("a loss alone does not say how good a model is: measure it with a task's metric")


class Labelled:
    """The batches of a loader, the strongest class standing in for labels that are not there, or for `all` of them."""

    def __init__(self, model: nn.Module, loader: Batches, every: bool = False) -> None:
        self._model = model
        self._loader = loader
        self._every = every

    def __iter__(self) -> Iterator[Batch]:
        device = device_of(self._model)
        for images, labels in self._loader:
            if labels is None or self._every:
                with evaluating(self._model), torch.no_grad():
                    labels = call(self._model, moved(images, device)).argmax(1).cpu()
            yield images, labels
