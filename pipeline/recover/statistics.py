"""Second moments of what layers read, gathered in one pass over the images and bounded in memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from secateur.pipeline.errors import DataError
from secateur.pipeline.scores.observe import frozen, observed
from secateur.pipeline.structure.groups import Site


@dataclass
class Moments:
    """The count, the sum `[d]` and the sum of outer products `[d, d]` of a layer's inputs, in float64."""

    count: int
    total: Tensor
    outer: Tensor

    @property
    def mean(self) -> Tensor:
        """The mean input, `[d]`."""
        return self.total / self.count

    @property
    def covariance(self) -> Tensor:
        """The covariance of the inputs, `[d, d]`."""
        return self.outer / self.count - torch.outer(self.mean, self.mean)


def input_moments(
    model: nn.Module, layers: Iterable[str], loader: Iterable[tuple[Tensor, Tensor]]
) -> dict[str, Moments]:
    """The moments of the inputs `[..., d]` of the named linear layers over all samples and tokens of `loader`.

    Memory does not grow with the number of images. Raises `DataError` when the loader is empty.
    """
    names = list(layers)
    device = next(model.parameters()).device
    moments: dict[str, Moments] = {}
    sites = [Site(name, "input", -1, ()) for name in names]
    with frozen(model), torch.no_grad(), observed(model, sites) as values:
        for images, _ in loader:
            model(images.to(device))
            for name in names:
                x = values[name, "input"].flatten(0, -2)
                if name not in moments:
                    width = x.shape[1]
                    zeros = torch.zeros(width + 1, width, dtype=torch.float64, device=device)
                    moments[name] = Moments(0, zeros[0], zeros[1:])
                found = moments[name]
                found.count += x.shape[0]
                found.total += x.sum(0, dtype=torch.float64)
                found.outer += (x.T @ x).double()  # one batch in the model's precision, the sum over batches in float64
    if not moments and names:
        raise DataError("there are no images to gather statistics from: give a data set with at least one")
    return moments
