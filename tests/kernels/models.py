"""A small pruned ViT whose heads have unequal widths, and images for it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.surgery import prune
from tests.conftest import make_vit

KEPT = {
    "blocks.0.attn.v": [0, 1, 2, 16, *range(32, 48)],
    "blocks.0.attn.qk": [5, 16, 17, *range(32, 40)],
    "blocks.1.attn.heads": [0, 2],
    "blocks.1.mlp.hidden": list(range(50)),
}


def pruned(**kwargs: object) -> nn.Module:
    model = make_vit(**kwargs)
    return prune(model, plan_from_kept(find_groups(model, torch.zeros(1, 3, 16, 16)), KEPT))


def image(batch: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(batch, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
