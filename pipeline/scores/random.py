"""Random scores: the baseline that every method must beat."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from secateur.pipeline.data.loader import Batches
from secateur.pipeline.scores.registry import Scored, ScoreMethod, method
from secateur.pipeline.structure.groups import Groups


@method("random")
@dataclass(frozen=True)
class Random(ScoreMethod):
    """Uniform numbers in [0, 1), `[units]` for each group; equal seeds give equal scores."""

    explains = False

    def score(self, model: nn.Module, groups: Groups, loader: Batches, seed: int) -> Scored:
        """Numbers drawn group by group; neither the model nor an image is looked at."""
        generator = torch.Generator().manual_seed(seed)
        return {group.name: torch.rand(group.units, generator=generator) for group in groups}
