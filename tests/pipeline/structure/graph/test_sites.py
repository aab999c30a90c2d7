"""Sites: at each, the values of unit `u` are those that removing `u` would take away."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.pipeline.statistics.capture import observed
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups, Site

EXAMPLE = torch.randn(1, 3, 6, 6)


def seen(model: nn.Module, site: Site) -> Tensor:
    """The tensor at a site in a forward pass."""
    with torch.no_grad(), observed(model, [site]) as values:
        model(EXAMPLE)
    return values[site.key]


def check(model: nn.Module, groups: Groups) -> None:
    """A unit whose makers are zeroed changes the positions that its sites name, and at most those."""
    for group in groups:
        for site in group.sites:
            before = seen(model, site)
            assert before.shape[site.dim] == len(site.units)
            for unit in range(group.units):
                kept = {part.tensor: model.get_parameter(part.tensor).detach().clone() for part in group.slices}
                with torch.no_grad():
                    for part in group.slices:
                        if part.role == "out":
                            index = torch.tensor([p for p, u in enumerate(part.units) if u == unit])
                            model.get_parameter(part.tensor).index_fill_(part.dim, index, 0)
                changed = (seen(model, site) != before).movedim(site.dim, 0).flatten(1).any(1)
                with torch.no_grad():
                    for name, tensor in kept.items():
                        model.get_parameter(name).copy_(tensor)
                assert changed.tolist() == [u == unit for u in site.units], (group.name, site)


@pytest.mark.parametrize(
    "middle",
    [
        [nn.Conv2d(8, 6, 1)],
        [nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 6, 1)],
        [nn.Conv2d(8, 12, 1, groups=2), nn.Conv2d(12, 6, 1)],
        [nn.Conv2d(8, 12, 1, groups=4), nn.Conv2d(12, 6, 1)],
        [nn.ConvTranspose2d(8, 6, 2)],
    ],
)
def test_the_inputs_of_convolutions_show_what_their_groups_lose(middle: list[nn.Module]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 1), *middle, nn.Conv2d(6, 4, 1)).eval()
    groups = find_groups(model, EXAMPLE)
    assert all(site.side == "input" for group in groups for site in group.sites)
    check(model, groups)


class Functional(nn.Module):
    """A layer whose weight is used by the module around it."""

    def __init__(self, maker: bool, reader: bool) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1)
        self.maker, self.reader = maker, reader

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(x, self.one.weight, self.one.bias) if self.maker else self.one(x)
        return F.conv2d(x, self.two.weight, self.two.bias) if self.reader else self.two(x)


@pytest.mark.parametrize("maker", [True, False])
@pytest.mark.parametrize("reader", [True, False])
def test_a_layer_that_is_not_called_is_seen_by_its_weight(maker: bool, reader: bool) -> None:
    model = Functional(maker, reader).eval()
    groups = find_groups(model, EXAMPLE)
    (site,) = groups.named("one.channels").sites
    assert (site.module, site.side, site.dim, site.weight) == ("two", "input", 1, "weight" if reader else "")
    check(model, groups)


class Read(nn.Module):
    """A module that hands weights of its own to functions: of a linear layer, or of a convolution in groups."""

    def __init__(self, linear: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 1)
        self.linear, self.mine = linear, nn.Parameter(torch.randn(4, 8) if linear else torch.randn(4, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return F.linear(x.movedim(1, -1), self.mine) if self.linear else F.conv2d(x, self.mine, groups=2)


def test_weights_of_no_layer_are_seen_where_they_are_those_of_a_linear_one() -> None:
    model = Read(linear=True).eval()
    groups = find_groups(model, EXAMPLE)
    (site,) = groups.named("first.channels").sites
    assert (site.module, site.side, site.dim, site.weight) == ("", "input", -1, "mine")
    check(model, groups)
    model = Read(linear=False).eval()
    assert [(site.module, site.side) for site in find_groups(model, EXAMPLE)[0].sites] == [("first", "output")]


def test_linear_layers_are_seen_along_their_last_dimension() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 6), nn.Flatten(), nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 5)).eval()
    groups = find_groups(model, EXAMPLE)
    assert {site.dim for group in groups for site in group.sites} == {-1}
    check(model, groups)
