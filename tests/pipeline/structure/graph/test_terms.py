"""Costs in units of groups: equal to PyTorch's own count, for the dense model and for any pruned one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.graph.build_groups import build_groups
from secateur.pipeline.structure.graph.components import components_of
from secateur.pipeline.structure.graph.terms import norms_of, terms_of
from secateur.pipeline.structure.graph.tracer import trace_model
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.surgery import prune
from tests.counting import torch_macs

EXAMPLE = torch.randn(1, 3, 8, 8)
MODEL = nn.Sequential(
    *(nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(1, 8), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 6, 1, stride=2)),
    *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 10), nn.LayerNorm(10), nn.Linear(10, 5)),
).eval()
GROUPS = find_groups(MODEL, EXAMPLE)


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_any_plan_costs_what_pytorch_counts(data: st.DataObject) -> None:
    kept = {
        group.name: sorted(data.draw(st.sets(st.integers(0, group.units - 1), min_size=2), label=group.name))
        for group in GROUPS
    }
    plan = plan_from_kept(GROUPS, kept)
    assert GROUPS.macs(plan.kept) == pytest.approx(torch_macs(prune(MODEL, plan, GROUPS), EXAMPLE))


def test_the_dense_model_costs_what_pytorch_counts() -> None:
    assert GROUPS.macs() == pytest.approx(torch_macs(MODEL, EXAMPLE))


def test_costs_are_those_of_one_sample_and_have_the_axes_of_groups_only() -> None:
    trace = trace_model(MODEL, EXAMPLE)
    components = components_of(trace)
    built = build_groups(MODEL, trace, components)
    terms = {term.name: term for term in terms_of(trace, components, built.units)}
    assert terms["0"].macs == 3 * 9 * 64 and [axis.size for axis in terms["0"].axes] == [8]
    assert sorted(axis.size for axis in terms["3"].axes) == [6, 8]
    assert [axis.size for axis in terms["8"].axes] == [10]


def test_widths_of_normalisations_are_axes_of_their_groups() -> None:
    trace = trace_model(MODEL, EXAMPLE)
    components = components_of(trace)
    built = build_groups(MODEL, trace, components)
    norms = norms_of(trace, components, built)
    assert {name: axis.size for name, axis in norms.items()} == {"1": 8, "7": 10}
    names = [group.name for group in built.groups if group.units == 8]
    assert [name for name, _ in norms["1"].members] == names
    assert norms["1"].positions({names[0]: (1, 5)}).tolist() == [index in (1, 5) for index in range(8)]
    assert norms["7"].positions({}).all()


class Doubled(nn.Module):
    """Every unit is read twice."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 6), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(x)
        out: Tensor = self.two(torch.cat([x, x], -1))
        return out


def test_a_unit_that_is_read_twice_counts_twice() -> None:
    groups = find_groups(Doubled().eval(), torch.randn(1, 4))
    (group,) = groups
    units = np.array(next(part.units for part in group.slices if part.role == "in"))
    assert np.array_equal(units, [*range(6), *range(6)])
    assert groups.macs({group.name: (0, 1)}) == 2 * 4 + 4 * 3
