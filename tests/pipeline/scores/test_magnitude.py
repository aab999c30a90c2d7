"""Magnitudes, slice by slice from the definition."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.pipeline.scores.score import score
from secateur.pipeline.structure.find import find_groups
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


class Frozen(nn.Module):
    """A linear layer whose weights are buffers."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randn(outside, inside))
        self.register_buffer("bias", torch.randn(outside))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.get_buffer("weight"), self.get_buffer("bias"))


def test_weights_that_are_buffers_count_and_statistics_do_not() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(Frozen(6, 8), nn.BatchNorm1d(8), nn.ReLU(), Frozen(8, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    model[1].running_mean.fill_(1e3)
    first, last = score(model, find_groups(model, torch.zeros(2, 6)), [], "magnitude").values.values()
    one, norm, two, three = (model[layer] for layer in (0, 1, 3, 5))
    parts = [one.weight, one.bias[:, None], norm.weight[:, None], norm.bias[:, None], two.weight.T]
    torch.testing.assert_close(first, torch.cat(parts, dim=1).norm(dim=1))
    torch.testing.assert_close(last, torch.cat([two.weight, two.bias[:, None], three.weight.T], dim=1).norm(dim=1))
