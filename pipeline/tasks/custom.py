"""The task `custom`: a loss and a metric of the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from secateur.core.errors import RecipeError
from secateur.core.import_path import imported
from secateur.pipeline.data.truths import LabelKind
from secateur.pipeline.tasks.metric import Meter, Metric, nothing_to_judge
from secateur.pipeline.tasks.own import own_loss, own_scores
from secateur.pipeline.tasks.task import Task, register


@register("custom")
@dataclass(frozen=True)
class Custom(Task):
    """Whatever a model returns, by import paths of functions, which are imported because the recipe names them.

    `loss(outputs, labels)` gives the mean loss of a batch or that of each image, and `metric(outputs, labels)` one
    number for all images together, of which more is better unless `higher_is_better` is false. `labels` is the kind of
    labels that the data have; `output(outputs)` may give the scores `[B, K]` that explanations start from.
    """

    loss: str
    metric: str
    labels: LabelKind = "classes"
    output: str | None = None
    higher_is_better: bool = True

    scores_classes = False

    def losses(self, outputs: Any, labels: Tensor) -> Tensor:
        """What `loss` gives, for each image."""
        return own_loss(self.loss, outputs, labels)

    def scores(self, outputs: Any) -> Tensor:
        """What `output` gives, or the first tensor averaged over places."""
        return own_scores(self.output, outputs, super().scores)

    def meter(self, classes: Sequence[str]) -> Meter:
        """Keeps all that the model says."""
        return Kept(self)

    def check(self, outputs: Any, classes: Sequence[str]) -> None:
        super().check(outputs, classes)
        for path in (self.loss, self.metric):
            imported(path)
        self.scores(outputs)


class Kept(Meter):
    """The metric of all answers and labels, put together along the batch; its name is that of its function."""

    def __init__(self, task: Custom) -> None:
        self._task = task
        self._outputs: list[Any] = []
        self._labels: list[Tensor] = []

    def add(self, outputs: Any, labels: Tensor) -> None:
        self._outputs.append(tree_map(lambda leaf: leaf.cpu() if isinstance(leaf, Tensor) else leaf, outputs))
        self._labels.append(labels.cpu())

    def metrics(self) -> tuple[Metric, ...]:
        if not self._labels:
            raise nothing_to_judge()
        whole = tree_map(lambda *parts: torch.cat(parts) if isinstance(parts[0], Tensor) else parts, *self._outputs)
        value, path = imported(self._task.metric)(whole, torch.cat(self._labels)), self._task.metric
        try:
            number = float(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise RecipeError(
                f"task.metric: {path} returns a {type(value).__name__}, but must return one number for all images"
            ) from error
        return (Metric(path.partition(":")[2], number, self._task.higher_is_better, unit=""),)
