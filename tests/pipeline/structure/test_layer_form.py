"""Products that are linear layers: computed as one they are what the product is, by the weights it names."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from secateur.benchmarks.mac_handlers import einsum_labels
from secateur.pipeline.structure.layer_form import alike_along, layer_form, product_labels, tensordot_labels

EQUATIONS = {
    "bnc,dc->bnd": ((2, 3, 4), (5, 4)),
    "bnc,cd->dbn": ((2, 3, 4), (4, 5)),
    "...c,chk->...hk": ((2, 3, 4), (4, 2, 5)),
    "bnhk,hkd->bnd": ((2, 3, 2, 4), (2, 4, 5)),
    "bnd,edh->bneh": ((2, 3, 4), (6, 4, 5)),
    "bcn,dc->bdn": ((2, 4, 3), (5, 4)),
}


@pytest.mark.parametrize("equation", EQUATIONS)
def test_the_layer_computes_the_product(equation: str) -> None:
    x, weight = (torch.randn(shape, dtype=torch.float64) for shape in EQUATIONS[equation])
    (one, two), result = einsum_labels(equation, [x.shape, weight.shape])
    form = layer_form(one, two, result)
    assert form is not None
    made = form.made(F.linear(form.read(x), form.matrix(weight)), weight)
    torch.testing.assert_close(made, torch.einsum(equation, x, weight))
    assert (form.view(weight, weight).of(weight) == form.matrix(weight)).all()


@pytest.mark.parametrize("equation", ["bnc,bcd->bnd", "bc,bc->b", "bnc,dc->bd", "bnc,dcc->bnd", "bnc,dce->bnd"])
def test_other_products_are_no_layers(equation: str) -> None:
    """A matrix for each sample, no rows, tokens or weights that are summed alone, a diagonal."""
    left, _, result = equation.partition("->")
    one, two = left.split(",")
    assert layer_form([*one], [*two], [*result]) is None


def parts(weight: Tensor) -> list[Tensor]:
    """Matrices `[out, in]` within a weight `[6, 4]`, each made by moving it only."""
    return [weight, weight[2:4], weight.chunk(3)[1], weight.t(), weight[:, 1:], weight.unflatten(0, (2, 3))[1].t()]


def test_a_view_says_where_its_numbers_are() -> None:
    weight = torch.randn(8, 4)[2:]  # one that starts in the middle of its memory
    for part in parts(weight):
        form = layer_form(["b", "i"], ["o", "i"], ["b", "o"])
        assert form is not None
        view = form.view(part, weight)
        assert (view.of(weight) == part).all()
        assert view.shape == part.shape
        moved = torch.randn(6, 4)  # it says so of any other tensor of the kind
        assert any((view.of(moved) == other).all() for other in parts(moved) if other.shape == part.shape)


def test_a_matrix_that_all_samples_share_is_one_layer() -> None:
    weight, x = torch.randn(4, 5).expand(2, -1, -1), torch.randn(2, 3, 4)
    labels = product_labels(3, 3)
    assert layer_form(*labels) is None
    form = layer_form(*labels, alike_along(weight))
    assert form is not None
    torch.testing.assert_close(form.made(F.linear(form.read(x), form.matrix(weight)), weight), x @ weight)


def test_samples_are_followed_unless_the_layer_reads_them() -> None:
    form = layer_form([*"cbn"], [*"dc"], [*"dbn"])
    assert form is not None
    assert [form.samples_at(dim) for dim in range(3)] == [None, 0, 1]


def test_sums_over_several_dimensions_are_layers() -> None:
    x, weight = torch.randn(2, 3, 4), torch.randn(5, 4, 3)
    form = layer_form(*tensordot_labels(3, 3, [1, 2], [-1, 1]))
    assert form is not None
    found = form.made(F.linear(form.read(x), form.matrix(weight)), weight)
    torch.testing.assert_close(found, torch.tensordot(x, weight, dims=([1, 2], [2, 1])))
