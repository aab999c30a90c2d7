"""Channels that code shuffles: what is left of them is picked in the same order, however the shuffle is spelled."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.surgery import prune
from tests.pipeline.structure.codegen.taking_over import Around, Code, check, take_over

IMAGE = torch.randn(1, 3, 6, 6)


def halves(x: Tensor) -> Tensor:
    """As in torchvision's ShuffleNet."""
    batch, channels, height, width = x.shape
    return x.view(batch, 2, channels // 2, height, width).transpose(1, 2).contiguous().view(batch, -1, height, width)


def thirds(x: Tensor) -> Tensor:
    return x.unflatten(1, (3, -1)).permute(0, -3, 1, 3, 4).clone().reshape(x.shape)


def of_three(x: Tensor) -> Tensor:
    """Three factors that all change places, beside a factor of the batch."""
    batch, channels, *size = x.shape
    return x.reshape(batch, 2, 3, channels // 6, *size).permute(0, 3, 1, 2, 4, 5).reshape(batch, channels, *size)


def last(x: Tensor) -> Tensor:
    """Of channels that come last."""
    y = x.permute(0, 2, 3, 1)
    return y.reshape(*y.shape[:3], 4, -1).transpose(-1, -2).reshape(y.shape).permute(0, 3, 1, 2)


@pytest.mark.parametrize("shuffle", [halves, thirds, of_three, last])
def test_shuffled_channels_are_picked(shuffle: Any) -> None:
    torch.manual_seed(0)
    inner = Code(lambda m, x: m.two(shuffle(m.one(x))), one=nn.Conv2d(16, 12, 1), two=nn.Conv2d(12, 16, 1))
    found = take_over(Around(nn.Conv2d(3, 16, 1), inner, nn.Conv2d(16, 4, 1)), IMAGE, step=5)
    check(found, IMAGE)
    operations = [str(node.target) for node in found.inner.written_graph.nodes]  # type: ignore[union-attr]
    assert sum("index_select" in one for one in operations) == 1
    for size in (4, 9):
        x = torch.randn(2, 3, size, size)
        torch.testing.assert_close(found.small(x), found.reference(x), rtol=1e-4, atol=1e-5)


def test_what_is_moved_among_the_pixels_is_no_shuffle() -> None:
    """Factors of the channels that end among the rows are other values of each place."""
    inner = Code(
        lambda m, x: m.one(x.view(-1, 2, 8, 6, 6).transpose(2, 3).reshape(-1, 16, 6, 6)), one=nn.Conv2d(16, 4, 1)
    )
    groups = find_groups(Around(nn.Conv2d(3, 16, 1), inner, nn.Conv2d(4, 4, 1)).eval(), IMAGE)
    assert [group.name for group in groups] == ["inner.one.channels"]


class Unit(nn.Module):
    """A unit of ShuffleNetV2: half of the channels pass, the others are convolved, and both are shuffled."""

    def __init__(self, half: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.Conv2d(half, half, 1), nn.ReLU(), nn.Conv2d(half, half, 3, 1, 1, groups=half))

    def forward(self, x: Tensor) -> Tensor:
        one, two = x.chunk(2, 1)
        return halves(torch.cat([one, self.branch(two)], 1))


def test_units_of_a_shuffle_network_lose_channels_of_one_half_alone() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 16, 3), Unit(8), Unit(8), nn.Conv2d(16, 5, 1)).eval()
    groups = find_groups(model, torch.randn(2, 3, 8, 8))
    assert not groups.fixed
    assert [(group.name, group.units) for group in groups] == [
        ("0.channels", 4), ("1.branch.0.channels", 4), ("2.branch.0.channels", 8),
    ]  # fmt: skip
    for group in groups:
        small = prune(model, plan_from_kept(groups, {group.name: range(1, group.units)}), groups)
        assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in model.parameters())
