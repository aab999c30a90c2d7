"""Activation energy: how much of what the next layer receives varies with a unit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from secateur.core.modules import frozen
from secateur.pipeline.data.loader import Loader
from secateur.pipeline.scores.registry import Scored, method
from secateur.pipeline.statistics.capture import all_sites, along, observed, sum_by_unit
from secateur.pipeline.structure.groups import Group, Groups


@method("activation")
def activation(model: nn.Module, groups: Groups, loader: Loader, *, seed: int) -> Scored:
    """Var[x_u] ||W_u||^2, the variance that a unit brings to the output of the layer that reads it, `[units]`.

    The variance is over samples and tokens or pixels, since a constant contribution can move into a bias (VBP);
    `W_u` are the reader's weights for the unit. A unit that is read by a product (query/key dims) scores the sum of
    its own variances instead.
    """
    counts: dict[tuple[str, str, int], float] = {}
    sums: dict[tuple[str, str, int], Tensor] = {}
    squares: dict[tuple[str, str, int], Tensor] = {}
    device = next(model.parameters()).device
    places = {(site.module, site.side, site.dim) for site in all_sites(groups)}
    with frozen(model), torch.no_grad(), observed(model, all_sites(groups)) as values:
        for images, _ in loader:
            model(images.to(device))
            for place in places:
                x = along(values[place[:2]], place[2], len(images)).double()
                counts[place] = counts.get(place, 0.0) + x.shape[0] * x.shape[2]
                sums[place] = sums.get(place, torch.zeros((), device=device)) + x.sum((0, 2))
                squares[place] = squares.get(place, torch.zeros((), device=device)) + x.square().sum((0, 2))
    variances = {
        place: (squares[place] / counts[place] - (sums[place] / counts[place]).square()).clamp_min(0)
        for place in places
    }
    return {group.name: _energy(group, variances, model.state_dict()) for group in groups}


def _energy(
    group: Group, variances: Mapping[tuple[str, Literal["input", "output"], int], Tensor], tensors: dict[str, Tensor]
) -> Tensor:
    """The score of one group, summed over its sites."""
    total = torch.zeros(group.units, dtype=torch.float64)
    for site in group.sites:
        variance = variances[site.module, site.side, site.dim].cpu()
        weight = tensors.get(f"{site.module}.weight")
        if site.side == "input" and weight is not None and weight.ndim > 1 and weight.shape[1] == len(variance):
            variance = variance * weight.detach().double().cpu().movedim(1, 0).flatten(1).square().sum(1)
        total += sum_by_unit(variance, site, group.units)
    return total.float()
