"""Random scores: the baseline that every method must beat."""

from __future__ import annotations

import torch
from torch import nn

from secateur.pipeline.data.loader import Loader
from secateur.pipeline.scores.registry import Scored, method
from secateur.pipeline.structure.groups import Groups


@method("random")
def random(model: nn.Module, groups: Groups, loader: Loader, *, seed: int) -> Scored:
    """Uniform numbers in [0, 1), `[units]` for each group; equal seeds give equal scores."""
    generator = torch.Generator().manual_seed(seed)
    return {group.name: torch.rand(group.units, generator=generator) for group in groups}
