"""What it costs to fix units at their means: the second-order rise of the loss where nothing makes up for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from secateur.core.errors import DataError
from secateur.core.model_inputs import asking, call, moved, samples_of
from secateur.core.modules import device_of, frozen
from secateur.pipeline.data.loader import Batches
from secateur.pipeline.statistics.capture import along, gradients_of, observed, sum_by_unit
from secateur.pipeline.structure.groups import Group, Site
from secateur.pipeline.tasks.task import Task


def removal_costs(
    model: nn.Module, groups: Sequence[Group], loader: Batches, seed: int, task: Task
) -> dict[str, Tensor]:
    """For each group, by name, `E (sum g (x - m))^2 / 2` of each unit, `[units]` float64.

    x are all values of a unit in one sample, m their means over all samples (for each position of a site), and g the
    gradients of the task's loss with labels drawn from the model's own prediction, so that it is the quadratic form of
    the Fisher information. Two passes over the images; one batch is held. Raises `DataError` for no images.
    """
    device, draws = device_of(model), np.random.default_rng(seed)
    sites = [site for group in groups for site in group.sites]
    means = _means(model, sites, loader)
    totals = {group.name: torch.zeros(group.units, dtype=torch.float64, device=device) for group in groups}
    samples = 0
    with frozen(model), torch.enable_grad(), observed(model, sites) as values:
        for batch, _ in loader:
            images, count = asking(batch, device), samples_of(batch)
            loss = task.drawn_loss(call(model, images), draws)
            gradients = gradients_of(loss, values)
            samples += count
            for group in groups:
                change = torch.zeros(count, group.units, dtype=torch.float64, device=device)
                for site in group.sites:
                    pair = values[site.key].detach(), gradients[site.key]
                    x, g = (along(part, site.dim, count).double() for part in pair)
                    change += sum_by_unit((g * (x - means[site.key, site.dim][:, None])).sum(2), site, group.units)
                totals[group.name] += change.square().sum(0)
    return {name: total / (2 * samples) for name, total in totals.items()}


def _means(model: nn.Module, sites: Sequence[Site], loader: Batches) -> Mapping[tuple[tuple[str, str], int], Tensor]:
    """The mean value at each position of sites, `[positions]` float64 by their keys and dimensions."""
    totals: dict[tuple[tuple[str, str], int], Tensor] = {}
    samples, device = 0, device_of(model)
    with frozen(model), torch.no_grad(), observed(model, sites) as values:
        for batch, _ in loader:
            call(model, moved(batch, device))
            count = samples_of(batch)
            samples += count
            for key, dim in dict.fromkeys((site.key, site.dim) for site in sites):
                part = along(values[key], dim, count).double().mean(2).sum(0)
                totals[key, dim] = totals.get((key, dim), torch.zeros_like(part)) + part
    if not samples:
        raise DataError("there are no images to gather statistics from: give a data set with at least one")
    return {place: total / samples for place, total in totals.items()}
