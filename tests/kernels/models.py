"""Small pruned models with images for them: a ViT whose heads have unequal widths, a Swin with shifted windows."""

from __future__ import annotations

from functools import cache

import timm
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


def make_swin(seed: int = 0, **kwargs: object) -> nn.Module:
    """A small timm Swin: windows of 4 x 4 over a map of 8 x 8, shifted in its second block, then one window."""
    torch.manual_seed(seed)
    settings = {
        "img_size": 16,
        "patch_size": 2,
        "window_size": 4,
        "embed_dim": 16,
        "depths": (2, 1),
        "num_heads": (2, 4),
    }
    model = timm.create_model("swin_tiny_patch4_window7_224", num_classes=5, **{**settings, **kwargs}).eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model


@cache
def pruned_swin(*kinds: str) -> nn.Module:
    """The Swin without its first heads, three of eight query and key dimensions and two of eight value dimensions, as
    far as these are among `kinds`; made once, so that nobody may change it.
    """
    model = make_swin()
    groups = find_groups(model, torch.zeros(1, 3, 16, 16))
    dims = {"qk_dim": 5, "v_dim": 6}
    kept = {group.name: range(1, group.units) for group in groups if group.kind == "head"}
    kept |= {g.name: [i for i in range(g.units) if i % 8 < dims[g.kind]] for g in groups if g.kind in dims}
    chosen = {group.name: list(kept[group.name]) for group in groups if group.kind in kinds}
    return prune(model, plan_from_kept(groups, chosen))


def image(batch: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(batch, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
