"""Groups of traced models: what goes together, what is fixed, and what is left to others."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.graph.build_groups import UNSEEN, BuiltGroups, build_groups
from secateur.pipeline.structure.graph.components import components_of
from secateur.pipeline.structure.graph.tracer import trace_model


def built(model: nn.Module, example: Tensor, leave: tuple[str, ...] = ()) -> BuiltGroups:
    trace = trace_model(model, example)
    return build_groups(model, trace, components_of(trace), leave)


class Partial(nn.Module):
    """Some of the units that a layer makes are picked by number, the others are free."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(x)
        out: Tensor = self.two(x) + x[:, 2:3]
        return out


def test_a_group_and_what_is_fixed_of_it_have_one_name() -> None:
    found = built(Partial(), torch.randn(1, 4))
    assert [(group.name, group.units) for group in found.groups] == [("hidden", 7)]
    assert [(one.name, one.units) for one in found.fixed] == [("hidden", 1)]
    assert "by its number" in found.fixed[0].reason
    rows = next(part for part in found.groups[0].slices if part.tensor == "one.weight")
    assert rows.units == (0, 1, -1, 2, 3, 4, 5, 6)
    assert {unit for members in found.units.values() for _, unit in members} == set(range(7))


def test_modules_that_are_left_to_others_have_no_groups() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.Sequential(nn.Linear(6, 7), nn.Linear(7, 6)), nn.Linear(6, 3))
    example = torch.randn(1, 4)
    sizes = {frozenset(part.tensor for part in group.slices): group.units for group in built(model, example).groups}
    left = {frozenset(part.tensor for part in group.slices) for group in built(model, example, leave=("1",)).groups}
    assert [units for tensors, units in sizes.items() if tensors not in left] == [7], "only what lies within"


class Bare(nn.Module):
    """Parameters that no layer owns."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)
        self.up, self.down = nn.Parameter(torch.randn(6, 8)), nn.Parameter(torch.randn(8, 6))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(F.relu(self.first(x) @ self.up) @ self.down)
        return out


class Each(Bare):
    """The same with weights of its own for each of five tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Parameter(torch.randn(5, 6, 8)), nn.Parameter(torch.randn(5, 8, 6))


def test_units_of_bare_parameters_are_those_of_layers() -> None:
    found = built(Bare(), torch.randn(1, 4))
    assert found.fixed == ()
    assert [(group.kind, group.units) for group in found.groups] == [
        ("mlp_hidden", 6),
        ("mlp_hidden", 8),
        ("mlp_hidden", 6),
    ]


def test_units_that_no_layer_shows_are_fixed() -> None:
    found = built(Each(), torch.randn(1, 5, 1, 4))
    assert [(one.name, one.units, one.reason) for one in found.fixed] == [("channels", 8, UNSEEN)]
    assert [group.units for group in found.groups] == [6, 6]


def test_a_group_has_two_units_or_more() -> None:
    model = nn.Sequential(nn.Linear(4, 1), nn.Linear(1, 2), nn.Linear(2, 3))
    found = built(model, torch.randn(1, 4))
    assert [group.units for group in found.groups] == [2]


def test_what_the_model_reads_and_returns_is_in_no_group_and_is_not_called_fixed() -> None:
    found = built(nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 3)), torch.randn(1, 4))
    assert [(group.name, group.units) for group in found.groups] == [("hidden", 6)]
    assert found.fixed == ()


def test_every_unit_of_every_group_has_its_component() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 4, 1))
    found = built(model, torch.randn(1, 3, 6, 6))
    groups = find_groups(model.eval(), torch.randn(1, 3, 6, 6))
    assert [group.name for group in found.groups] == [group.name for group in groups]
    named = sorted(membership for members in found.units.values() for membership in members)
    assert named == sorted((group.name, unit) for group in found.groups for unit in range(group.units))
