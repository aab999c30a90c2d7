"""Taylor scores: the first-order change of the loss when a unit goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from secateur.core.model_inputs import asking, call, moved, samples_of
from secateur.core.modules import device_of, frozen
from secateur.pipeline.data.loader import Batches
from secateur.pipeline.scores.registry import Scored, TaskMethod, check_images, method
from secateur.pipeline.statistics.capture import all_sites, along, gradients_of, observed, sum_by_unit
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.tasks.task import Task


@method("taylor")
@dataclass(frozen=True)
class Taylor(TaskMethod):
    """The mean over samples of |sum over tokens or pixels of x_u dL/dx_u|, `[units]` for each group.

    `L` is the loss of the task: of a classifier the cross-entropy of the sample's label (Molchanov et al., 2017, arXiv
    1611.06440, eq. 7, per sample).
    """

    comparable: ClassVar[bool] = True

    def score_for(self, task: Task, model: nn.Module, groups: Groups, loader: Batches, seed: int) -> Scored:
        """One forward and one backward pass for each batch score all groups; nothing but one batch is held."""
        device = device_of(model)
        totals = {group.name: torch.zeros(group.units, dtype=torch.float64, device=device) for group in groups}
        samples = 0
        with frozen(model), observed(model, all_sites(groups)) as values, torch.enable_grad():
            for images, labels in loader:
                images, count = asking(images, device), samples_of(images)
                loss = task.losses(call(model, images), moved(labels, device)).sum()
                gradients = gradients_of(loss, values)
                samples += count
                for group in groups:
                    change = torch.zeros(count, group.units, dtype=torch.float64, device=device)
                    for site in group.sites:
                        product = (
                            along((values[site.key] * gradients[site.key]).detach(), site.dim, count).sum(2).double()
                        )
                        change += sum_by_unit(product, site, group.units)
                    totals[group.name] += change.abs().sum(0)
        check_images(samples)
        return {name: (total / samples).float().cpu() for name, total in totals.items()}
