"""How far a pruned model's predictions are from the dense one's, for allocations that measure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from secateur.pipeline.errors import DataError
from secateur.pipeline.plan.allocate import Judge
from secateur.pipeline.plan.plan import plan_from_kept
from secateur.pipeline.scores.observe import frozen
from secateur.pipeline.structure.groups import Groups, Kept
from secateur.pipeline.structure.surgery import cut


def divergence(
    model: nn.Module,
    groups: Groups,
    loader: Iterable[tuple[Tensor, Tensor]],
    small: Callable[[Kept], nn.Module] | None = None,
) -> Judge:
    """A judge: the mean Kullback-Leibler divergence of the pruned model's prediction from the dense one's, in nats.

    `small` makes the pruned model, by surgery alone without it. Labels are not looked at. The images are kept in
    memory, so give few (64 will do). Raises `DataError` without any.
    """
    device = next(model.parameters()).device
    batches = [images.to(device) for images, _ in loader]
    if not batches:
        raise DataError("there are no images to judge plans by: give a data set with at least one")
    with frozen(model), torch.inference_mode():
        goals = [model(images).log_softmax(1) for images in batches]

    def judge(kept: Kept) -> float:
        pruned = small(kept) if small else cut(model, groups, plan_from_kept(groups, kept))
        total = 0.0
        with frozen(pruned), torch.inference_mode():
            for images, goal in zip(batches, goals, strict=True):
                found = pruned(images).log_softmax(1)
                total += float((goal.exp() * (goal - found)).sum())
        return total / sum(len(images) for images in batches)

    return judge
