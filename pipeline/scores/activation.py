"""Activation energy: how much of what the next layer receives varies with a unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from secateur.core.model_inputs import call, moved, samples_of
from secateur.core.modules import device_of, frozen
from secateur.pipeline.data.loader import Batches
from secateur.pipeline.scores.registry import Scored, ScoreMethod, check_images, method
from secateur.pipeline.statistics.capture import all_sites, along, observed, sum_by_unit
from secateur.pipeline.statistics.layer_matrices import layer_of
from secateur.pipeline.structure.groups import Group, Groups

Place = tuple[str, Literal["input", "output"], int]
"""A side of a module, and the dimension along which units lie there."""


@method("activation")
@dataclass(frozen=True)
class Activation(ScoreMethod):
    """Var[x_u] ||W_u||^2, the variance that a unit brings to the output of the layer that reads it, `[units]`.

    The variance is over samples and tokens or pixels, since a constant contribution can move into a bias (VBP);
    `W_u` are the reader's weights for the unit. A unit that is read by a product (query/key dims) scores the sum of
    its own variances instead.
    """

    explains = False

    def score(self, model: nn.Module, groups: Groups, loader: Batches, seed: int) -> Scored:
        """The variances from one pass over the images, times the weights that read them."""
        counts: dict[Place, float] = {}
        sums: dict[Place, Tensor] = {}
        squares: dict[Place, Tensor] = {}
        device = device_of(model)
        places: set[Place] = {(site.name, site.side, site.dim) for site in all_sites(groups)}
        with frozen(model), torch.no_grad(), observed(model, all_sites(groups)) as values:
            for images, _ in loader:
                call(model, moved(images, device))
                for place in places:
                    x = along(values[place[:2]], place[2], samples_of(images)).double()
                    counts[place] = counts.get(place, 0.0) + x.shape[0] * x.shape[2]
                    sums[place] = sums.get(place, torch.zeros((), device=device)) + x.sum((0, 2))
                    squares[place] = squares.get(place, torch.zeros((), device=device)) + x.square().sum((0, 2))
        check_images(len(counts))
        variances = {
            place: (squares[place] / counts[place] - (sums[place] / counts[place]).square()).clamp_min(0)
            for place in places
        }
        return {group.name: _energy(group, variances, model) for group in groups}


def _energy(group: Group, variances: Mapping[Place, Tensor], model: nn.Module) -> Tensor:
    """The score of one group, summed over its sites."""
    total = torch.zeros(group.units, dtype=torch.float64)
    for site in group.sites:
        variance = variances[site.name, site.side, site.dim].cpu()
        weight = getattr(layer_of(model, site), "weight", None)
        if site.side == "input" and isinstance(weight, Tensor) and weight.ndim > 1 and weight.shape[1] == len(variance):
            variance = variance * weight.detach().double().cpu().movedim(1, 0).flatten(1).square().sum(1)
        total += sum_by_unit(variance, site, group.units)
    return total.float()
