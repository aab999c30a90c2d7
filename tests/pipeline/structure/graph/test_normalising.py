"""Which modules normalise: told by what they compute, in any layout, by whatever name."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from timm.layers import LayerNorm2d
from timm.layers.grn import GlobalResponseNorm
from torch import Tensor, nn

from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.graph.normalising import normalising
from secateur.pipeline.structure.graph.program import exported
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.surgery import prune, verify

X = torch.randn(1, 3, 8, 8)


class Permuted(nn.LayerNorm):
    """As ConvNeXt's own code and Hugging Face's have it."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Wrapped(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(x.shape)
        return out


class Written(nn.Module):
    """As Segment Anything's neck has it, with a width under a name of its own."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias, self.my_width = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width)), width

    def forward(self, x: Tensor) -> Tensor:
        u = x.mean(1, keepdim=True)
        s = (x - u).pow(2).mean(1, keepdim=True)
        weight = self.weight.reshape(1, self.my_width, 1, 1)
        return (x - u) / torch.sqrt(s + 1e-6) * weight + self.bias[:, None, None]


class RootMeanSquare(nn.Module):
    """In single precision whatever goes on around it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return self.scale * (x.float() * torch.rsqrt(x.float().pow(2).mean(1, keepdim=True) + 1e-6))


class Deviation(nn.Module):
    """Without a parameter."""

    def forward(self, x: Tensor) -> Tensor:
        var, mean = torch.var_mean(x, dim=1, keepdim=True)
        return (x - mean) * torch.rsqrt(var + 1e-5)


class Functional(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain, self.width = nn.Parameter(torch.ones(width)), width

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.movedim(1, -1), (self.width,), self.gain, None, 1e-6).movedim(-1, 1)


class Gate(nn.Module):
    """Takes a statistic over channels, which a convolution reads."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.conv(x.mean(1, keepdim=True)).sigmoid()


NORMS = {
    "permuted": (Permuted, "1", 1),
    "wrapped": (Wrapped, "1.norm", 2),
    "written": (Written, "1", 1),
    "root mean square": (RootMeanSquare, "1", 1),
    "without parameters": (lambda _width: Deviation(), "1", 1),
    "functional": (Functional, "1", 1),
    "timm's": (LayerNorm2d, "1", 1),
    "response": (lambda width: GlobalResponseNorm(width, channels_last=False), "1", 1),
    "group of all": (lambda width: nn.GroupNorm(1, width), "1", 1),
}


def model_with(norm: nn.Module, width: int = 8) -> nn.Sequential:
    """Two convolutions around a normalisation of some channels, and one more."""
    torch.manual_seed(0)
    layers = nn.Conv2d(3, width, 2, 2), norm, nn.Conv2d(width, 6, 1), nn.ReLU(), nn.Conv2d(6, 4, 1)
    return nn.Sequential(*layers).eval()


@pytest.mark.parametrize("name", list(NORMS))
def test_units_go_from_any_normalisation(name: str) -> None:
    make, path, dim = NORMS[name]
    model = model_with(make(8))
    groups = find_groups(model, X)
    assert [group.name for group in groups] == ["0.channels", "2.channels"]
    assert not groups.fixed and not groups.adapted and not groups.unverifiable
    assert {key: (norm.size, norm.dim) for key, norm in groups.norms.items()} == {path: (8, dim)}
    plan = plan_from_kept(groups, {"0.channels": [1, 2, 4, 7]})
    small = prune(model, plan, groups)
    narrow = model_with(make(4), 4)
    assert {key: value.shape for key, value in small.state_dict().items()} == {
        key: value.shape for key, value in narrow.state_dict().items()
    }
    assert verify(small, model, plan, groups).difference < 1e-4
    narrow.load_state_dict(small.state_dict())
    torch.testing.assert_close(small(X), narrow(X))


@pytest.mark.parametrize("norm", [Gate(8), nn.LayerNorm((8, 4, 4))])
def test_what_does_more_than_normalise_over_units_keeps_them(norm: nn.Module) -> None:
    groups = find_groups(model_with(norm), X)
    assert [(fixed.name, fixed.reason) for fixed in groups.fixed] == [("0.channels", "1: a statistic is taken over it")]


def test_a_statistic_over_what_has_no_units_says_nothing_of_them() -> None:
    class Pixels(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x - x.mean((2, 3), keepdim=True)

    groups = find_groups(model_with(Pixels()), X)
    assert [group.name for group in groups] == ["0.channels", "2.channels"] and not groups.norms


def test_only_modules_from_one_tensor_to_one_of_its_shape_normalise() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.pool, self.both = nn.LayerNorm(8), Mean(), Both()

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.both(self.norm(x), self.pool(x))
            return out + x

    class Mean(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean(-1, keepdim=True)

    class Both(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x - y.mean(-1, keepdim=True)

    model = Two().eval()
    program = exported(model, torch.randn(1, 8))
    assert [(path, [node.name for node in nodes]) for path, nodes in normalising(program, model).items()] == [
        ("norm", ["x"])
    ]


def test_a_shared_normalisation_has_each_tensor_that_it_is_called_with() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.norm, self.last = (
                nn.Linear(3, 8),
                nn.Linear(8, 8),
                nn.LayerNorm(8),
                nn.Linear(8, 2),
            )

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.last(self.norm(self.two(self.norm(self.one(x)))))
            return out

    model = Twice().eval()
    groups = find_groups(model, torch.randn(1, 3))
    assert [(group.name, group.units) for group in groups] == [("hidden", 8)]
    assert not groups.fixed
    prune(model, plan_from_kept(groups, {"hidden": [0, 3, 5]}), groups)
