"""Weights and biases: which of their dimensions read and which make, and whose call it was."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.pipeline.structure.graph.following import follow, of


class Functional(nn.Module):
    """The weight of a layer, read by the module around it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.layer.weight, self.layer.bias)


def test_a_layers_weight_and_bias_have_their_roles_and_their_owner() -> None:
    found = follow(nn.Sequential(nn.Linear(4, 6), nn.Conv1d(6, 5, 1)), torch.randn(1, 6, 4))
    assert found.trace.owners["0.weight"] == "0"
    assert found.trace.roles["0.weight", 0] == found.trace.roles["0.bias", 0] == "out"
    assert found.trace.roles["0.weight", 1] == "in"


def test_the_owner_is_the_module_that_reads_the_weight() -> None:
    found = follow(nn.Sequential(Functional()), torch.randn(1, 4))
    assert found.trace.owners == {"0.layer.weight": "0"}


def test_a_bias_goes_with_what_it_is_added_to() -> None:
    found = of(lambda p, q, x: F.linear(x, p, q), (6, 2), (6,))
    assert found.at("p0", 0) == found.at("p1", 0)
    assert found.trace.roles == {("p0", 1): "in", ("p0", 0): "out", ("p1", 0): "out"}
    named = of(lambda p, q, x: F.conv1d(x[None], p, bias=q), (6, 2, 1), (6,), example=torch.randn(2, 3))
    assert named.at("p0", 0) == named.at("p1", 0)
    assert named.trace.roles["p1", 0] == "out"


def test_a_computed_weight_has_no_role() -> None:
    found = of(lambda p, x: F.linear(x, p * 2.0), (6, 2))
    assert found.trace.roles == {} and found.trace.owners == {}
    assert found.along(0, 1) == found.at("p0", 0)


def test_what_a_weight_reads_that_is_standardised_by_hand_stays_for_that_reason() -> None:
    def standardised(p: Tensor, q: Tensor, x: Tensor) -> Tensor:
        return F.conv1d(F.conv1d(x, p), q - q.mean((1, 2), keepdim=True))

    found = of(standardised, (6, 2, 1), (4, 6, 1), example=torch.randn(1, 2, 3))
    assert "is computed from others" in found.reason("p0", 0)
