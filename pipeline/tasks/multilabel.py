"""The task `multilabel`: any number of labels for each image, judged by the mean average precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from secateur.core.errors import DataError
from secateur.pipeline.tasks.metric import Metric, Rows, metrics_package
from secateur.pipeline.tasks.task import Task, check_shape, register


@register("multilabel")
@dataclass(frozen=True)
class Multilabel(Task):
    """A logit of each label `[B, labels]`; the loss is the binary cross-entropy, the metrics mAP and F1 (macro)."""

    labels = "sets"
    activation = "sigmoid"

    def losses(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The binary cross-entropy in nats, summed over the labels."""
        return F.binary_cross_entropy_with_logits(outputs.float(), labels, reduction="none").sum(1)

    def divergence(self, found: Tensor, goal: Tensor, temperature: float = 1.0) -> Tensor:
        """The Kullback-Leibler divergence in nats, summed over the labels."""
        one, other = found.float() / temperature, goal.float() / temperature
        wanted = other.sigmoid()
        there = wanted * (F.logsigmoid(other) - F.logsigmoid(one))
        absent = (1 - wanted) * (F.logsigmoid(-other) - F.logsigmoid(-one))
        return (there + absent).sum(1)

    def drawn_loss(self, outputs: Tensor, draws: np.random.Generator) -> Tensor:
        """The loss of labels drawn one by one from their predicted probabilities."""
        points = torch.from_numpy(draws.random(tuple(outputs.shape))).to(outputs)
        return F.binary_cross_entropy_with_logits(
            outputs, (points < outputs.detach().sigmoid()).to(outputs), reduction="sum"
        )

    def meter(self, classes: Sequence[str]) -> LabelRows:
        """Keeps the logits of all images."""
        metrics_package("torchmetrics", "the task multilabel")
        return LabelRows()

    def check(self, outputs: object, classes: Sequence[str]) -> None:
        check_shape(outputs, [len(classes)], f"telling {len(classes)} labels")


class LabelRows(Rows):
    """mAP, and F1 of the labels that are likelier than not; means over the labels that some image has."""

    def metrics(self) -> tuple[Metric, ...]:
        from torchmetrics.functional.classification import (
            binary_average_precision,
            binary_f1_score,
            multilabel_average_precision,
            multilabel_f1_score,
        )

        found, wanted = self.rows()
        seen = wanted.bool().any(0)
        if not seen.any():
            raise DataError("no held-out image has any label: give a data set in which labels occur")
        chances, there, count = found[:, seen].sigmoid(), wanted[:, seen].long(), int(seen.sum())
        if count == 1:  # torchmetrics wants two labels
            precision, f1 = binary_average_precision(chances[:, 0], there[:, 0]), binary_f1_score(chances, there)
        else:
            precision = multilabel_average_precision(chances, there, count)
            f1 = multilabel_f1_score(chances, there, count)
        return Metric("mAP", 100 * float(precision)), Metric("F1", 100 * float(f1))
