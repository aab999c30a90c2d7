"""The task `embed`: a vector for each image, judged by whether its nearest neighbour is of the same class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from secateur.core.errors import DataError
from secateur.pipeline.tasks.metric import Metric, Rows
from secateur.pipeline.tasks.task import Task, check_shape, register

NEIGHBOURS = 5
"""How many neighbours vote on the class of an image."""
TEMPERATURE = 0.1
"""Cosines are divided by it in the loss."""


@register("embed")
@dataclass(frozen=True)
class Embed(Task):
    """Vectors `[B, D]`, compared by their cosine, of images with a class each.

    The loss is the cross-entropy of an image's class by its cosines with the mean vectors of the batch's classes
    (prototypical networks, Snell et al., 2017, arXiv 1703.05175). The metrics are retrieval@1, the share of images
    whose nearest other image is of their class, and the accuracy of a vote of the nearest `NEIGHBOURS`.
    """

    labels = "classes"
    scores_classes = False

    def losses(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The cross-entropy in nats; of labels that are distributions `[B, classes]`, the largest class counts."""
        vectors = F.normalize(outputs.float(), dim=1)
        numbers = labels.argmax(1) if labels.ndim == 2 else labels
        classes, places = torch.unique(numbers, return_inverse=True)
        means = vectors.new_zeros(len(classes), vectors.shape[1]).index_add(0, places, vectors)
        return F.cross_entropy(vectors @ F.normalize(means, dim=1).T / TEMPERATURE, places, reduction="none")

    def divergence(self, found: Tensor, goal: Tensor, temperature: float = 1.0) -> Tensor:
        """1 less the cosine of both vectors."""
        return 1 - F.cosine_similarity(found.float(), goal.float())

    def drawn_loss(self, outputs: Tensor, draws: np.random.Generator) -> Tensor:
        """That of a normal distribution around every vector of length 1, along which alone vectors are compared."""
        return super().drawn_loss(F.normalize(outputs, dim=1), draws)

    def meter(self, classes: Sequence[str]) -> Neighbours:
        """Keeps the vectors of all images."""
        return Neighbours()

    def check(self, outputs: object, classes: Sequence[str]) -> None:
        check_shape(outputs, [None], "an embedding")


class Neighbours(Rows):
    """Retrieval@1 and the vote of the nearest neighbours among all other images, in percent."""

    def metrics(self) -> tuple[Metric, ...]:
        found, classes = self.rows()
        if len(found) < 2:
            raise DataError("one image has no neighbours: give two held-out images or more")
        vectors, right, voted = F.normalize(found, dim=1), 0, 0
        count, most = int(classes.max()) + 1, min(NEIGHBOURS, len(found) - 1)
        for start in range(0, len(vectors), 1024):  # the cosines of all pairs would not fit into memory
            rows = torch.arange(start, min(start + 1024, len(vectors)))
            cosines = vectors[rows] @ vectors.T
            cosines[torch.arange(len(rows)), rows] = -torch.inf
            near = classes[cosines.topk(most, dim=1).indices]
            right += int((near[:, 0] == classes[rows]).sum())
            votes = F.one_hot(near, count).sum(1).double()
            votes[torch.arange(len(rows)), near[:, 0]] += 0.5  # the nearest decides between equals
            voted += int((votes.argmax(1) == classes[rows]).sum())
        share = 100 / len(vectors)
        return Metric("retrieval@1", share * right), Metric(f"{NEIGHBOURS}-NN accuracy", share * voted)
