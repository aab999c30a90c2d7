"""The task `classify`: one class for each image, judged by top-1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from secateur.benchmarks.keys import TOP1
from secateur.core.errors import DataError
from secateur.pipeline.tasks.metric import Meter, Metric, nothing_to_judge
from secateur.pipeline.tasks.task import Task, check_shape, register


@register("classify")
@dataclass(frozen=True)
class Classify(Task):
    """Logits `[B, classes]` and class numbers `[B]`; the loss is the cross-entropy, the metric top-1 in percent."""

    labels = "classes"
    classifies = True
    activation = "softmax"

    def losses(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The cross-entropy in nats; labels may be distributions `[B, classes]` too."""
        return F.cross_entropy(outputs.float(), labels, reduction="none")

    def scores(self, outputs: Tensor) -> Tensor:
        """The logits."""
        return outputs

    def divergence(self, found: Tensor, goal: Tensor, temperature: float = 1.0) -> Tensor:
        """The Kullback-Leibler divergence of the predictions from the goal's, in nats."""
        one, other = ((logits.float() / temperature).log_softmax(1) for logits in (found, goal))
        return F.kl_div(one, other, log_target=True, reduction="none").sum(1)

    def drawn_loss(self, outputs: Tensor, draws: np.random.Generator) -> Tensor:
        """The cross-entropy of one class for each image, drawn from the predicted probabilities."""
        below = outputs.detach().double().softmax(1).cumsum(1)
        points = torch.from_numpy(draws.random(len(outputs))).to(below)
        drawn = torch.searchsorted(below, points[:, None]).clamp_max(outputs.shape[1] - 1)[:, 0]
        return F.cross_entropy(outputs, drawn, reduction="sum")

    def meter(self, classes: Sequence[str]) -> Meter:
        """Counts the images whose largest logit is their label's."""
        return Top1()

    def check(self, outputs: object, classes: Sequence[str]) -> None:
        check_shape(outputs, [len(classes)], f"classifying into {len(classes)} classes")


class Top1(Meter):
    """How many images are classified right, and of how many; other logits than those of `classes` count as -inf."""

    def __init__(self, classes: Sequence[int] | None = None) -> None:
        self._right: list[Tensor] = []
        self._labels: list[Tensor] = []
        self._classes = None if classes is None else torch.tensor(sorted(classes))

    def add(self, outputs: Tensor, labels: Tensor) -> None:
        """Counts one batch; raises `DataError` for labels that the model has no logit for."""
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < outputs.shape[1]:
            raise DataError(
                f"the labels go from {int(labels.min())} to {int(labels.max())}, but the model has "
                f"{outputs.shape[1]} logits: give images of the model's classes"
            )
        allowed = None if self._classes is None else self._classes.to(outputs.device)
        best = outputs.argmax(1) if allowed is None else allowed[outputs[:, allowed].argmax(1)]
        self._right.append(best.cpu() == labels.cpu())
        self._labels.append(labels.cpu())

    @property
    def right(self) -> int:
        """How many images are classified right."""
        return sum(int(found.sum()) for found in self._right)

    @property
    def count(self) -> int:
        """How many images there were."""
        return sum(map(len, self._right))

    def metrics(self) -> tuple[Metric, ...]:
        if not self.count:
            raise nothing_to_judge()
        return (Metric(TOP1, 100.0 * self.right / self.count),)

    def answers(self) -> tuple[Tensor, Tensor]:
        return torch.cat(self._right), torch.cat(self._labels)
