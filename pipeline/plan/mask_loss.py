"""What soft masks cost the model: a loss that gradients go through, on one batch after another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from secateur.core.errors import DataError
from secateur.core.model_inputs import call, moved
from secateur.core.modules import frozen
from secateur.pipeline.data.loader import Batch, Batches
from secateur.pipeline.data.shuffled import shuffled
from secateur.pipeline.plan.allocation import MaskLoss
from secateur.pipeline.statistics.mask_hooks import multiplied
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.tasks.classify import Classify
from secateur.pipeline.tasks.task import Task

Loss = Literal["divergence", "cross_entropy"]


def mask_loss(
    model: nn.Module,
    groups: Groups,
    loader: Batches,
    loss: Loss = "divergence",
    batch_size: int = 32,
    seed: int = 0,
    task: Task | None = None,
) -> MaskLoss:
    """A loss of soft masks: the mean divergence from the dense model's predictions in nats, or the cross-entropy.

    Of a model that is no classifier, these are the divergence and the loss of its `task`. The divergence looks at no
    labels. Batches of `batch_size` come in an order that the seed decides, again and
    again; nothing but one batch is held besides the images that are shuffled. Raises `DataError` without images.

    >>> instruments = sc.Instruments(mask_loss=sc.mask_loss(model, groups, loader, batch_size=5))
    >>> plan = sc.make_plan(groups, scores, sc.Budget(macs=0.6), "xpruner", instruments, steps=2)
    >>> groups.macs(plan.kept) <= 0.6 * groups.macs()
    True
    """
    device, batches = next(model.parameters()).device, _endless(loader, batch_size, seed)
    measure = task or Classify()

    def measured(factors: Mapping[str, Tensor]) -> Tensor:
        images, labels = (moved(part, device) for part in next(batches))
        there = {name: value.to(device) for name, value in factors.items()}
        with frozen(model):
            with torch.no_grad():
                goal = call(model, images) if loss == "divergence" else None
            with multiplied(model, groups, there):
                found = call(model, images)
        if loss == "divergence":
            return measure.divergence(found, goal).mean().cpu()
        return measure.losses(found, labels).mean().cpu()

    return measured


def _endless(loader: Batches, batch_size: int, seed: int) -> Iterator[Batch]:
    """The batches of one pass over the images after another, each shuffled anew."""
    epoch = 0
    while True:
        empty = True
        for batch in shuffled(loader, batch_size, (seed, epoch)):
            empty = False
            yield batch
        if empty:
            raise DataError("there are no images to measure masks on: give a data set with at least one")
        epoch += 1
