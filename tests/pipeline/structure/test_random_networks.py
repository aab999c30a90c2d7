"""Random small networks made of the supported operations: whatever a plan removes, removed equals not read."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from secateur.core.errors import ModelError
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.plan import Plan, plan_from_kept
from secateur.pipeline.structure.surgery import prune
from tests.counting import torch_macs


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(width, 12, 3, padding=1), nn.Conv2d(12, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.two(F.relu(self.one(x)))


class Branches(nn.Module):
    """Concatenation of three branches of unequal width, one of them the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(width, 6, 1), nn.Conv2d(width, 10, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width + 16)
        self.out = nn.Conv2d(width + 16, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.norm(torch.cat([self.one(x), x, self.two(x)], dim=1)))


class Excitation(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, 8), nn.Linear(8, width)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.up(F.relu(self.down(x.mean((2, 3))))).sigmoid()[:, :, None, None]


class Gate(nn.Module):
    """Halves that multiply each other."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.both, self.out = nn.Conv2d(width, 16, 1), nn.Conv2d(8, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        one, two = self.both(x).chunk(2, dim=1)
        return self.out(one * two.sigmoid())


class Parts(nn.Module):
    """Code that repeats widths: what is cut at a fixed position, and a shuffle of pixels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.wide, self.deep = nn.Conv2d(width, 24, 1), nn.Conv2d(8, 8, 3, padding=1)
        self.up, self.out = nn.Conv2d(24, 24, 1), nn.Conv2d(6, width, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.wide(x)
        x = torch.cat([self.deep(x[:, :8]), F.gelu(x[:, 8:])], dim=1)
        return self.out(F.pixel_shuffle(self.up(x), 2))


class Grouped(nn.Module):
    """Depthwise, many narrow groups, few wide groups, and a transposed convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, 16, 1),
            nn.Conv2d(16, 32, 3, padding=1, groups=16),
            nn.Conv2d(32, 32, 3, padding=1, groups=8, bias=False),
            nn.ReLU(),
            nn.Conv2d(32, 16, 3, padding=1, groups=2),
            nn.GroupNorm(4, 16),
            nn.ConvTranspose2d(16, 10, 2, stride=2),
            nn.MaxPool2d(2),
            nn.Conv2d(10, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


class Heads(nn.Module):
    """Attention over pixels as most models write it, with a bias for each head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(width, 48), nn.Linear(16, width)
        self.bias = nn.Parameter(torch.randn(2, 16, 16))

    def forward(self, x: Tensor) -> Tensor:
        batch, width, height, length = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        q, k, v = self.qkv(tokens).reshape(batch, 16, 3, 2, 8).permute(2, 0, 3, 1, 4).unbind(0)
        attention = (q @ k.transpose(-2, -1) * 8**-0.5 + self.bias).softmax(dim=-1)
        tokens = self.proj((attention @ v).transpose(1, 2).reshape(batch, 16, 16))
        return x + tokens.transpose(1, 2).reshape(batch, width, height, length)


PIECES: tuple[Callable[[int], nn.Module], ...] = (Residual, Branches, Excitation, Gate, Parts, Grouped, Heads)


class Net(nn.Module):
    """A stem, some pieces, and a classifier, for images `[B, 3, 4, 4]`."""

    def __init__(self, chosen: list[int], width: int, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.pieces = nn.Sequential(*(PIECES[index](width) for index in chosen))
        self.head = nn.Linear(width, 5)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean = torch.randn(module.num_features)
                module.running_var = torch.rand(module.num_features) + 0.5

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.pieces(self.stem(x)).mean((2, 3)))
        return out


def plan_for(groups: Groups, seed: int) -> Plan:
    """A random number of units of each group stays, at random places, as many of each head."""
    rng = random.Random(seed)
    kept = {}
    for group in groups:
        width = group.units // group.blocks
        count = rng.randint(max(group.min_units, 1), width)
        kept[group.name] = [
            block * width + unit for block in range(group.blocks) for unit in rng.sample(range(width), count)
        ]
    return plan_from_kept(groups, kept)


def unread(model: nn.Module, groups: Groups, plan: Plan) -> nn.Module:
    """A copy in which no layer reads a removed unit: the columns of its readers are zero, nothing else is."""
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for group in groups:
            gone = [unit for unit in range(group.units) if unit not in plan.kept.get(group.name, range(group.units))]
            for part in group.slices:
                if part.role == "in" or group.kind == "qk_dim":
                    index = [position for position, unit in enumerate(part.units) if unit in gone]
                    copied.get_parameter(part.tensor).index_fill_(part.dim, torch.tensor(index, dtype=torch.long), 0)
    return copied


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, len(PIECES) - 1), min_size=1, max_size=3), st.sampled_from([8, 12]), st.integers(0, 99))
def test_removed_equals_not_read_and_costs_what_it_says(chosen: list[int], width: int, seed: int) -> None:
    model = Net(chosen, width, seed).eval()
    x = torch.randn(3, 3, 4, 4)
    groups = find_groups(model, x)
    plan = plan_for(groups, seed)
    small = prune(model, plan, groups)
    with torch.no_grad():
        torch.testing.assert_close(small(x), unread(model, groups, plan)(x), atol=1e-4, rtol=1e-4)
        for module, kept in ((model, {}), (small, plan.kept)):
            assert torch_macs(module, x[:1]) == pytest.approx(groups.macs(kept), rel=1e-9)
    assert sum(p.numel() for p in small.parameters()) == groups.params(plan.kept)


@pytest.mark.parametrize(
    ("piece", "kinds"),
    [
        (0, {"channel": 1, "width": 1}),
        (1, {"channel": 4}),
        (2, {"channel": 1, "mlp_hidden": 1}),
        (3, {"channel": 3}),
        (4, {"channel": 6}),
        (5, {"channel": 5}),
        (6, {"width": 1, "head": 1, "qk_dim": 1, "v_dim": 1}),
    ],
)
def test_every_unit_that_there_is_is_found(piece: int, kinds: dict[str, int]) -> None:
    groups = find_groups(Net([piece], 8, 0).eval(), torch.zeros(1, 3, 4, 4))
    found = [group.kind for group in groups]
    assert {kind: found.count(kind) for kind in set(found)} == kinds


def test_dimensions_are_numbered_head_by_head() -> None:
    groups = find_groups(Net([6], 8, 0).eval(), torch.zeros(1, 3, 4, 4))
    assert {group.kind: (group.units, group.blocks) for group in groups if group.kind != "width"} == {
        "head": (2, 1),
        "qk_dim": (16, 2),
        "v_dim": (16, 2),
    }
    assert groups.adapted == ("pieces.0",)


def test_a_model_without_inner_layers_is_refused() -> None:
    with pytest.raises(ModelError, match="nothing can be removed"):
        find_groups(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), torch.zeros(1, 3, 2, 2))
