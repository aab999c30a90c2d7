"""Reasons for what is no unit: told for inputs, outputs, kernels, what nothing reads or makes, and single units."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from secateur.pipeline.structure.graph.build_groups import build_groups
from secateur.pipeline.structure.graph.components import Place, components_of
from secateur.pipeline.structure.graph.trace import OUTPUT
from secateur.pipeline.structure.graph.tracer import UNUSED, trace_model
from secateur.pipeline.structure.graph.ungrouped import NOT_UNITS, SINGLE, ungrouped
from secateur.pipeline.structure.graph.unread import UNREAD


class Layers(nn.Module):
    def __init__(self, middle: Callable[[Tensor], Tensor] = torch.relu) -> None:
        super().__init__()
        self.one, self.two, self.idle = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3), nn.Linear(2, 7)
        self.middle, self.bias = middle, nn.Parameter(torch.randn(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.middle(self.one(x)))


def reasons_of(model: nn.Module) -> dict[Place, str]:
    trace = trace_model(model.eval(), torch.randn(1, 3, 8, 8))
    components = components_of(trace)
    return ungrouped(trace, components, build_groups(model, trace, components).units)


def test_each_reason_is_the_true_one() -> None:
    found = reasons_of(Layers())
    assert found["two.weight", 0] == found["two.bias", 0] == OUTPUT
    assert found["one.weight", 2] == found["two.weight", 3] == found["bias", 0] == NOT_UNITS
    assert found["idle.weight", 0] == found["idle.weight", 1] == UNUSED
    assert "reads values that cannot be removed" in found["one.weight", 1]
    assert not {("one.weight", 0), ("one.bias", 0), ("two.weight", 1)} & set(found)


@pytest.mark.parametrize(
    ("middle", "reason"),
    [
        (lambda x: x.softmax(1), "softmax runs over it"),
        (lambda x: x.cumsum(1), "cumsum runs over it"),
        (lambda x: torch.fft.rfft(x, dim=2).abs()[:, :, :6], "cannot follow units through"),
    ],
)
def test_what_is_fixed_has_the_reason_of_the_operation(middle: Callable[[Tensor], Tensor], reason: str) -> None:
    assert reason in reasons_of(Layers(middle))["one.weight", 0]


def test_what_no_layer_reads_and_a_single_unit_are_told() -> None:
    class Unread(Layers):
        def forward(self, x: Tensor) -> Tensor:
            return self.one(x).sum(1)

    assert reasons_of(Unread())["one.weight", 0] == UNREAD

    class Tied(Layers):
        def forward(self, x: Tensor) -> Tensor:
            x = self.one(x)
            return self.two(sum(x.roll(shift, 1) for shift in range(4)))

    assert reasons_of(Tied())["one.weight", 0] == SINGLE
