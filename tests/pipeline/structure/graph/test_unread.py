"""Nothing is skipped in silence: what no layer reads is named, with the reason that the trace has."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.core.errors import ModelError
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.graph.unread import UNREAD

EXAMPLE = torch.randn(1, 3, 8, 8)


class Net(nn.Module):
    """Something between a convolution of 16 channels and one that reads what it makes."""

    def __init__(self, middle: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.middle = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 16, 1), middle
        self.c = nn.Conv2d(middle(torch.zeros(1, 16, 8, 8)).shape[1], 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.c(self.middle(self.b(self.a(x).relu())))
        return out


class Product(nn.Module):
    def __init__(self, equation: str = "") -> None:
        super().__init__()
        self.weight, self.equation = nn.Parameter(torch.randn(16, 5)), equation

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2).mT
        made = torch.einsum(self.equation, x, self.weight) if self.equation else x @ self.weight
        return made.softmax(-1).mT[..., None]


CASES: dict[str, tuple[Callable[[Tensor], Tensor], dict[str, int], str]] = {
    "softmax over channels": (lambda x: x.softmax(1), {"b.channels": 16}, "softmax runs over it"),
    "an unknown operation": (torch.linalg.matrix_exp, {"b.channels": 16}, "cannot follow units through"),
    "a grouped transposed convolution": (
        nn.ConvTranspose2d(16, 8, 2, groups=4),
        {"b.channels": 16, "middle.channels": 2},
        "grouped transposed",
    ),
    "a product with a bare parameter": (Product(), {"middle.channels": 5}, "softmax runs over it"),
    "the same as einsum": (Product("bnc,cd->bnd"), {"middle.channels": 5}, "softmax runs over it"),
    "a sum": (lambda x: x.sum(1, keepdim=True).expand(-1, 4, -1, -1), {"b.channels": 16}, UNREAD),
    "values of no parameter": (
        lambda x: torch.maximum(x, F.pad(x[:, :4], (0, 0, 0, 0, 0, 12))),
        {"b.channels": 12},
        "not made by any parameter",
    ),
}


@pytest.mark.parametrize("case", list(CASES))
def test_what_cannot_go_is_named_with_the_reason(case: str) -> None:
    middle, expected, reason = CASES[case]
    groups = find_groups(Net(middle).eval(), EXAMPLE, verify=False)
    fixed = {one.name: one for one in groups.fixed}
    for name, units in expected.items():
        assert fixed[name].units == units
        assert reason in fixed[name].reason
    assert "a.channels" in [group.name for group in groups]
    assert "c.channels" not in fixed, "the model returns them"


def test_a_model_without_groups_says_what_stood_in_the_way() -> None:
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Softmax(1), nn.Conv2d(16, 8, 3)).eval()
    with pytest.raises(ModelError, match=r"0\.channels cannot, since 1: softmax runs over it"):
        find_groups(model, EXAMPLE)


def test_tables_and_unused_biases_are_not_units() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(3, 6), nn.Linear(6, 2)
            self.table = nn.Parameter(torch.randn(8, 6))

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.two(self.one(x.mean(2).mT) + self.table)
            return out

    groups = find_groups(Positions().eval(), EXAMPLE)
    assert [group.units for group in groups] == [6]
    assert groups.fixed == ()
