"""Magnitudes, slice by slice from the definition."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from secateur.pipeline.scores.score import score
from secateur.pipeline.structure.groups import Groups


def test_magnitude_is_the_norm_of_all_slices(vit: nn.Module, vit_groups: Groups) -> None:
    found = score(vit, vit_groups, [], "magnitude").values
    mlp = vit.get_submodule("blocks.1.mlp")
    for unit in (0, 7, 191):
        parts = [mlp.fc1.weight[unit], mlp.fc1.bias[unit][None], mlp.fc2.weight[:, unit]]
        assert found["blocks.1.mlp.hidden"][unit].item() == pytest.approx(torch.cat(parts).norm().item(), rel=1e-5)
    attn = vit.get_submodule("blocks.0.attn")
    rows = torch.cat([torch.arange(16, 32) + 48 * part for part in range(3)])
    parts = [attn.qkv.weight[rows].flatten(), attn.qkv.bias[rows], attn.proj.weight[:, 16:32].flatten()]
    assert found["blocks.0.attn.heads"][1].item() == pytest.approx(torch.cat(parts).norm().item(), rel=1e-5)
