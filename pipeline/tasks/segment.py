"""The task `segment`: a class for each pixel, judged by the mean intersection over union."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from secateur.core.errors import DataError
from secateur.pipeline.data.masks import IGNORED
from secateur.pipeline.tasks.metric import Meter, Metric, metrics_package, nothing_to_judge
from secateur.pipeline.tasks.task import Task, check_shape, register


@register("segment")
@dataclass(frozen=True)
class Segment(Task):
    """Logits `[B, classes, h, w]`, brought to the size of the masks `[B, H, W]` bilinearly where theirs is another.

    The loss is the cross-entropy, the mean over the pixels of an image, the metrics mIoU and the share of right pixels.
    """

    labels = "masks"

    def losses(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The mean cross-entropy of an image's pixels in nats; those that belong to no class are left out."""
        losses = F.cross_entropy(fitted(outputs, labels).float(), labels, ignore_index=IGNORED, reduction="none")
        return losses.sum((1, 2)) / (labels != IGNORED).sum((1, 2)).clamp_min(1)

    def divergence(self, found: Tensor, goal: Tensor, temperature: float = 1.0) -> Tensor:
        """The Kullback-Leibler divergence of the predictions in nats, the mean over the pixels."""
        one, other = ((logits.float() / temperature).log_softmax(1) for logits in (found, goal))
        return F.kl_div(one, other, log_target=True, reduction="none").sum(1).mean((1, 2))

    def drawn_loss(self, outputs: Tensor, draws: np.random.Generator) -> Tensor:
        """The loss of a class for each pixel, drawn from the predicted probabilities."""
        below = outputs.detach().double().softmax(1).cumsum(1)
        points = torch.from_numpy(draws.random((len(outputs), 1, *outputs.shape[2:]))).to(below)
        drawn = (below < points).sum(1).clamp_max(outputs.shape[1] - 1)
        return F.cross_entropy(outputs, drawn, reduction="none").mean((1, 2)).sum()

    def meter(self, classes: Sequence[str]) -> Meter:
        """Counts the pixels of each class by what they are taken for."""
        metrics_package("torchmetrics", "the task segment")
        return Pixels(len(classes))

    def check(self, outputs: object, classes: Sequence[str]) -> None:
        if len(classes) < 2:
            raise DataError("the masks have one class, but to tell pixels apart takes two or more: add the others")
        check_shape(outputs, [len(classes), None, None], f"segmentation into {len(classes)} classes")


class Pixels(Meter):
    """mIoU over the classes that occur in masks or predictions, and the share of right pixels, in percent."""

    def __init__(self, classes: int) -> None:
        from torchmetrics.classification import MulticlassJaccardIndex

        self._index = MulticlassJaccardIndex(classes, average="macro", ignore_index=IGNORED)

    def add(self, outputs: Tensor, labels: Tensor) -> None:
        labels = labels.cpu()
        self._index.update(fitted(outputs.float().cpu(), labels).argmax(1), labels)

    def metrics(self) -> tuple[Metric, ...]:
        counts = self._index.confmat.double()
        if not counts.sum():
            raise nothing_to_judge()
        right = float(counts.diagonal().sum() / counts.sum())
        return Metric("mIoU", 100 * float(self._index.compute())), Metric("pixel accuracy", 100 * right)


def fitted(logits: Tensor, masks: Tensor) -> Tensor:
    """The logits in the size of the masks."""
    if logits.shape[2:] == masks.shape[1:]:
        return logits
    return F.interpolate(logits, size=masks.shape[1:], mode="bilinear", align_corners=False)
