"""Group magnitude: the size of all parameters that go with a unit."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from secateur.pipeline.data.loader import Batches
from secateur.pipeline.scores.registry import Scored, ScoreMethod, method
from secateur.pipeline.structure.groups import Groups


@method("magnitude")
@dataclass(frozen=True)
class Magnitude(ScoreMethod):
    """The L2 norm of a unit's parameters over all its slices, `[units]` for each group.

    Weights that are buffers, since they are never trained, count as parameters do; statistics of normalisations do not.
    The grouped L2 norm of DepGraph (Fang et al., 2023, arXiv 2301.12900, eq. 3).
    """

    explains = False

    def score(self, model: nn.Module, groups: Groups, loader: Batches, seed: int) -> Scored:
        """The norms; no data is read."""
        tensors: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
        buffers = {name: one for name, one in model.named_buffers(remove_duplicate=False) if one.is_floating_point()}
        scores: dict[str, Tensor] = {}
        for group in groups:
            squares = torch.zeros(group.units, dtype=torch.float64)
            for part in group.slices:
                found = tensors.get(part.tensor, buffers.get(part.tensor) if part.role != "norm" else None)
                if found is None:
                    continue
                weight = found.detach()
                others = [dim for dim in range(weight.ndim) if dim != part.dim]
                by_position = weight.square().sum(others, dtype=torch.float64) if others else weight.double().square()
                index = torch.as_tensor(part.units)
                squares.index_add_(0, index[index >= 0], by_position.cpu()[index >= 0])
            scores[group.name] = squares.sqrt().float()
        return scores
