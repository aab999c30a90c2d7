"""Layers written as products by parameters score as the same layers do when they are called."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.pipeline.scores.score import score
from secateur.pipeline.statistics.weight_products import by_parameter, layer_calls
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups

X, Y = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(4)
WIDTHS = (8, 12, 8)
Layer = Callable[[Tensor, Tensor, Tensor], Tensor]
OUT_IN: dict[str, Layer] = {
    "transposed": lambda x, w, b: x @ w.t() + b,
    "transposed as matrix": lambda x, w, b: torch.matmul(x, w.mT) + b,
    "einsum": lambda x, w, b: torch.einsum("bnc,dc->bnd", x, w) + b,
    "left operand": lambda x, w, b: (w @ x.mT + b[:, None]).mT,
}
"""Products by a weight `[out, in]`."""
IN_OUT: dict[str, Layer] = {
    "right operand": lambda x, w, b: x @ w + b,
    "einsum of any rank": lambda x, w, b: torch.einsum("...c,cd->...d", [x, w]) + b,
    "linear, transposed": lambda x, w, b: F.linear(x, w.t(), b),
    "one matrix for all samples": lambda x, w, b: x @ w[None] + b,
    "baddbmm": lambda x, w, b: torch.baddbmm(b, x, w.expand(len(x), -1, -1)),
    "baddbmm and a batch of biases": lambda x, w, b: torch.baddbmm(b[None, None], x, w.expand(len(x), -1, -1)),
    "tensordot": lambda x, w, b: torch.tensordot(x, w, 1) + b,
}
"""Products by a weight `[in, out]`."""
ROWS: dict[str, Layer] = {
    "mm": lambda x, w, b: x.mm(w) + b,
    "addmm": lambda x, w, b: torch.addmm(b, x, w),
}
"""Products of rows `[tokens of all samples, in]` by a weight `[in, out]`."""


class Net(nn.Module):
    """Two layers over tokens, called or written as products by parameters."""

    def __init__(self, layer: Layer | None, transposed: bool, rows: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.head, self.layer, self.rows = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 5), layer, rows
        self.called = nn.ModuleList(nn.Linear(*sizes) for sizes in pairwise(WIDTHS))
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.5)
        if layer is not None:
            self.weights = nn.ParameterList(
                nn.Parameter(one.weight.detach().t().contiguous() if transposed else one.weight.detach().clone())
                for one in self.called
            )
            self.biases = nn.ParameterList(one.bias.detach().clone() for one in self.called)
            del self.called

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).mT
        shape = x.shape[:-1]
        x = x.flatten(0, 1) if self.rows else x
        for number in range(2):
            if self.layer is None:
                x = self.called[number](x)
            else:
                x = self.layer(x, self.weights[number], self.biases[number])
            x = x if number else x.relu()
        x = x.unflatten(0, shape) if self.rows else x
        out: Tensor = self.head(x.mean(1))
        return out


def scored(model: nn.Module, methods: tuple[str, ...]) -> tuple[Groups, dict[str, list[Tensor]]]:
    """The groups of a model, and by method their scores in the order of stem, first and second layer."""
    groups = find_groups(model, X[:1], verify=False)
    ordered = sorted(groups, key=lambda group: (group.units, group.sites[0].module == "head"))
    found = {name: score(model, groups, [(X, Y)], name).values for name in methods}
    return groups, {name: [values[group.name] for group in ordered] for name, values in found.items()}


METHODS = ("magnitude", "taylor", "activation", "obs", "integrated_gradients", "lrp", "xmask")


@pytest.fixture(scope="module")
def twins() -> dict[bool, tuple[Groups, dict[str, list[Tensor]]]]:
    """The scores of the net whose layers are called, on tokens or on rows of them."""
    return {rows: scored(Net(None, False, rows).eval(), METHODS) for rows in (False, True)}


@pytest.mark.parametrize("name", [*OUT_IN, *IN_OUT, *ROWS])
def test_scores_are_those_of_layers_that_are_called(
    name: str, twins: dict[bool, tuple[Groups, dict[str, list[Tensor]]]]
) -> None:
    rows, transposed = name in ROWS, name not in OUT_IN
    model = Net({**OUT_IN, **IN_OUT, **ROWS}[name], transposed, rows).eval()
    groups, found = scored(model, METHODS)
    twin, expected = twins[rows]
    assert {site.side for group in groups for site in group.sites} == {"input"}
    assert sorted((group.kind, group.units) for group in groups) == sorted((one.kind, one.units) for one in twin)
    for method in METHODS:
        for one, other in zip(found[method], expected[method], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4, msg=lambda text, m=method: f"{m}: {text}")


class Experts(nn.Module):
    """Weights of three experts `[experts, in, out]`, which a matrix of their own does not hold in one piece."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.gate, self.head = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 3), nn.Linear(8, 5)
        self.up, self.down = nn.Parameter(torch.randn(3, 8, 12)), nn.Parameter(torch.randn(3, 12, 8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).mT
        y = torch.einsum("bnd,edh->bneh", x, self.up).relu()
        out: Tensor = self.head(torch.einsum("bneh,ehd,bne->bnd", y, self.down, self.gate(x).softmax(-1)).mean(1))
        return out


def test_weights_of_several_experts_are_seen_as_one_layer() -> None:
    model = Experts().eval()
    groups = find_groups(model, X[:1], verify=False)
    hidden = next(group for group in groups if group.units == 12)
    assert {(site.side, len(site.units)) for site in hidden.sites} == {("output", 3 * 12)}
    values = score(model, groups, [(X, Y)], "taylor").values[hidden.name]
    # by the definition: the values of a hidden unit, times their gradients, over experts and tokens
    x = model.stem(X).flatten(2).mT
    made = torch.einsum("bnd,edh->bneh", x, model.up).detach().requires_grad_()
    y = torch.einsum("bneh,ehd,bne->bnd", made.relu(), model.down, model.gate(x).softmax(-1)).mean(1)
    F.cross_entropy(model.head(y), Y, reduction="sum").backward()  # type: ignore[no-untyped-call]  # torch's own
    assert made.grad is not None
    torch.testing.assert_close(values, (made * made.grad).sum((1, 2)).abs().mean(0), rtol=1e-4, atol=1e-6)


def test_what_is_no_layer_by_a_weight_is_none() -> None:
    weight, x = nn.Parameter(torch.randn(4, 5)), torch.randn(2, 3, 4)
    assert by_parameter(torch.matmul, (x, x.mT), {}) is None
    assert by_parameter(torch.matmul, (x, nn.Parameter(torch.randn(2, 4, 5))), {}) is None
    assert by_parameter(torch.matmul, (x[0, 0], weight), {}) is None
    assert by_parameter(torch.addmm, (x[0], x[0, :, :3], weight.t()[:3]), {"alpha": 2}) is None
    assert [*layer_calls(torch.einsum, ("bnc,cd,de->bne", x, weight, weight.t()), {})] == []
    found = by_parameter(torch.matmul, (x, weight), {})
    assert found is not None
    torch.testing.assert_close(found.run(F.linear), x @ weight)
