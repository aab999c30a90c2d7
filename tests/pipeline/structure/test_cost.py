"""The cost of layers is that of the loops that they stand for, dense and pruned."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from secateur.pipeline.structure.cost import layer_terms
from secateur.pipeline.structure.groups import Axis
from tests.counting import torch_macs


@pytest.mark.parametrize(
    ("layer", "x", "reuse"),
    [
        (nn.Linear(6, 10), torch.zeros(1, 7, 6), 7),
        (nn.Conv2d(6, 10, 3, padding=1), torch.zeros(1, 6, 8, 8), 64),
        (nn.Conv2d(6, 10, 3, stride=2, padding=1, groups=2), torch.zeros(1, 6, 8, 8), 16),
        (nn.Conv2d(6, 6, 5, padding=2, groups=6), torch.zeros(1, 6, 8, 8), 64),
    ],
)
def test_a_layer_costs_its_weights_times_how_often_each_is_used(layer: nn.Module, x: torch.Tensor, reuse: int) -> None:
    (term,) = layer_terms(nn.Sequential(layer), {"0": float(reuse)}, {})
    assert term.count({}) == torch_macs(layer, x)


def test_both_lengths_of_a_weight_shrink_with_their_groups() -> None:
    model = nn.Sequential(nn.Linear(6, 10))
    axes = {
        ("0.weight", 0): Axis(10, (("out", tuple(range(10))),)),
        ("0.weight", 1): Axis(6, (("in", (0, 0, 1, 1, 2, 2)),)),
    }
    (term,) = layer_terms(model, {"0": 3.0}, axes)
    assert term.count({"out": range(4), "in": [1]}) == 3 * 4 * 2
    assert term.count({"in": [0, 2]}) == 3 * 10 * 4
