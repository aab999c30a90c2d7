"""Convolutions read and make channels; groups tie them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from timm.layers import CondConv2d
from torch import Tensor, nn
from torchvision.ops import DeformConv2d

from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.graph.program import SAMPLES
from secateur.pipeline.structure.graph.unread import UNREAD
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.surgery import prune
from tests.counting import torch_macs
from tests.pipeline.structure.graph.following import Followed, follow, of


def between(*layers: nn.Module, size: int = 5) -> Followed:
    """What is traced through convolutions between one that makes eight channels and one that reads them all."""
    example = torch.randn(1, 3, size, size)
    model = nn.Sequential(nn.Conv2d(3, 8, 1), *layers, nn.LazyConv2d(2, 1))
    model(example)  # the last layer learns how many channels it reads
    return follow(model, example)


def test_a_convolution_reads_all_channels_alike() -> None:
    found = between(nn.Conv2d(8, 6, 3, padding=1))
    assert found.at("1.weight", 1) == found.at("0.weight", 0)
    assert found.at("2.weight", 1) == found.at("1.weight", 0) == found.at("1.bias", 0)
    assert len(set(found.at("0.weight", 0) + found.at("1.weight", 0))) == 14
    assert "cannot be removed" in found.reason("0.weight", 1)


def test_what_a_convolution_sees_place_by_place_goes_on() -> None:
    def mixed(p: Tensor, q: Tensor, x: Tensor, padding: int = 0) -> Tensor:
        return F.conv1d(torch.stack([x @ p, (x @ p).relu()], 1), q, padding=padding)

    found = of(mixed, (4, 6), (5, 2, 1), example=torch.zeros(1, 4))
    assert found.along(0, 2) == found.at("p0", 1) and not found.reason("p0", 1)
    assert sum(cost.macs for cost in found.trace.costs) == SAMPLES * (2 * 4 * 6 + 2 * 5 * 6)
    for shape, padding in ((5, 2, 3), 1), ((5, 2, 1), 1):
        found = of(lambda p, q, x, padding=padding: mixed(p, q, x, padding), (4, 6), shape, example=torch.zeros(1, 4))
        assert "a convolution runs over it" in found.reason("p0", 1)


class Deformed(nn.Module):
    """torchvision's deformable convolution, at places and with factors that another convolution makes."""

    def __init__(self, groups: int = 1) -> None:
        super().__init__()
        self.first, self.places = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 27, 3, padding=1)
        self.c, self.last = DeformConv2d(8, 6, 3, padding=1, groups=groups), nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        places, factors = self.places(x).split([18, 9], 1)
        out: Tensor = self.last(self.c(x, places, factors.sigmoid()))
        return out


def test_a_deformable_convolution_reads_and_makes_channels() -> None:
    torch.manual_seed(0)
    model, example = Deformed().eval(), torch.randn(1, 3, 5, 5)
    groups = find_groups(model, example)
    assert {group.name: group.units for group in groups} == {"first.channels": 8, "c.channels": 6}
    assert ["has places or factors" in one.reason for one in groups.fixed] == [True]
    small = prune(model, plan_from_kept(groups, {"first.channels": (0, 2, 3, 6), "c.channels": (1, 4, 5)}), groups)
    assert small.get_parameter("c.weight").shape == (3, 4, 3, 3)
    found = follow(Deformed(2), example)
    assert "a deformable convolution in groups" in found.reason("c.weight", 0)


@pytest.mark.parametrize("multiplier", [1, 3])
def test_a_depthwise_convolution_makes_what_it_reads(multiplier: int) -> None:
    found = between(nn.Conv2d(8, 8 * multiplier, 3, padding=1, groups=8))
    read = found.at("0.weight", 0)
    assert len(set(read)) == 8
    assert found.at("1.weight", 0) == [component for component in read for _ in range(multiplier)]
    assert found.at("2.weight", 1) == found.at("1.weight", 0)


def test_many_narrow_groups_go_as_a_whole() -> None:
    found = between(nn.Conv2d(8, 12, 3, padding=1, groups=4))
    read, made = found.at("0.weight", 0), found.at("1.weight", 0)
    assert [read.index(component) for component in read] == [0, 0, 2, 2, 4, 4, 6, 6]
    assert made == [read[2 * (channel // 3)] for channel in range(12)]
    assert "every group" in found.reason("1.weight", 1)


class Experts(nn.Module):
    """Every image gets a kernel of its own, mixed of those of several experts."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.route, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 4), nn.Conv2d(8, 5, 1)
        self.mixed = CondConv2d(8, 8, 3, num_experts=4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        out: Tensor = self.head(self.mixed(x, torch.sigmoid(self.route(x.mean((2, 3))))))
        return out


def test_weights_that_are_mixed_of_experts_have_the_true_reason() -> None:
    groups = find_groups(Experts().eval(), torch.randn(2, 3, 12, 12))
    told = {one.name: one.reason for one in groups.fixed}
    assert told["mixed.channels"].endswith("cannot follow units through a convolution whose weights it computes")
    assert not [name for name, reason in told.items() if reason == UNREAD]


def test_of_few_wide_groups_the_same_channel_of_each_goes() -> None:
    found = between(nn.Conv2d(8, 6, 3, padding=1, groups=2))
    read, made = found.at("0.weight", 0), found.at("1.weight", 0)
    assert read == [*read[:4], *read[:4]] and len(set(read)) == 4
    assert made == [*made[:3], *made[:3]] and len(set(made)) == 3
    assert found.at("1.weight", 1) == read[:4]
    assert not set(read) & set(made)


def test_a_transposed_convolution_has_its_input_first() -> None:
    found = between(nn.ConvTranspose2d(8, 6, 2, stride=2))
    assert found.at("1.weight", 0) == found.at("0.weight", 0)
    assert found.at("1.weight", 1) == found.at("1.bias", 0) == found.at("2.weight", 1)
    roles = found.trace.roles
    assert (roles["1.weight", 0], roles["1.weight", 1]) == ("in", "out")


def test_a_depthwise_transposed_convolution_makes_what_it_reads() -> None:
    found = between(nn.ConvTranspose2d(8, 8, 2, stride=2, groups=8))
    assert found.at("2.weight", 1) == found.at("1.weight", 0) == found.at("1.bias", 0) == found.at("0.weight", 0)
    assert not found.reason("0.weight", 0)
    assert "grouped transposed" in between(nn.ConvTranspose2d(8, 4, 2, groups=2)).reason("1.weight", 0)


def test_what_a_convolution_runs_over_stays() -> None:
    def function(p: Tensor, q: Tensor, x: Tensor) -> Tensor:
        return F.conv1d(p[None], q)

    found = of(function, (4, 9), (5, 4, 3))
    assert "convolution runs over it" in found.reason("p0", 1)
    assert found.at("p0", 0) == found.at("p1", 1)
    assert found.along(0, 1) == found.at("p1", 0)


@pytest.mark.parametrize("size", [4, 5])
@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(8, 6, 3, stride=2, padding=1),
        nn.Conv2d(8, 16, 3, groups=8),
        nn.Conv2d(8, 12, 1, groups=4),
        nn.Conv2d(8, 12, 1, groups=2),
        nn.ConvTranspose2d(8, 6, 3, stride=2),
        nn.ConvTranspose2d(8, 8, 2, groups=8),
    ],
)
def test_convolutions_cost_what_pytorch_counts(layer: nn.Module, size: int) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 1), layer)
    example = torch.randn(1, 3, size, size)
    found = follow(model, example)
    expected = torch_macs(model, torch.cat([example, example]))
    assert sum(cost.macs for cost in found.trace.costs) == pytest.approx(expected)
