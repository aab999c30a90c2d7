"""Which products of a graph are linear layers, and by which parts of which parameters."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.pipeline.structure.graph.trace import Product
from secateur.pipeline.structure.graph.tracer import trace_model
from secateur.pipeline.structure.samples import FIRST, Samples


class Handed(nn.Module):
    """A weight `[6, 4]` of a layer that is handed on in some way."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.w = way, nn.Parameter(torch.randn(6, 4))

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "whole":
            return F.linear(x, self.w)
        if self.way == "part":
            return F.linear(x, self.w[2:4])
        if self.way == "transposed":
            return x @ self.w.chunk(2)[1].t()
        if self.way == "tokens first":
            return x.transpose(0, 1) @ self.w.mT
        if self.way == "left":
            return self.w[:, :3] @ x
        if self.way == "copied":
            return F.linear(x, self.w[:, ::2].contiguous().repeat(1, 2))
        return x.mT @ (x @ self.w.t())


def products(way: str) -> list[Product]:
    return trace_model(Handed(way), torch.zeros(1, 3, 4)).products.get("w", [])


@pytest.mark.parametrize(
    ("way", "shape", "rows", "columns"),
    [
        ("part", (2, 4), [2, 3], [0, 1, 2, 3]),
        ("transposed", (3, 4), [3, 4, 5], [0, 1, 2, 3]),
        ("left", (6, 3), [0, 1, 2, 3, 4, 5], [0, 1, 2]),
    ],
)
def test_a_part_is_told_with_what_it_makes_and_reads(
    way: str, shape: tuple[int, int], rows: list[int], columns: list[int]
) -> None:
    (product,) = products(way)
    assert product.view is not None
    assert product.view.shape == shape
    assert product.view.of(torch.arange(24).reshape(6, 4)).tolist() == [[4 * r + c for c in columns] for r in rows]
    labels = trace_model(Handed(way), torch.zeros(1, 3, 4)).tensors["w"]
    for found, own, places in ((product.rows, labels[0], rows), (product.columns, labels[1], columns)):
        assert own is not None
        assert found[0].tolist() == own[places].tolist()


@pytest.mark.parametrize("way", ["whole", "turned back"])
def test_a_weight_that_is_handed_on_as_it_is_has_no_view(way: str) -> None:
    (product,) = products(way)
    assert product.view is None
    assert product.samples == FIRST


def test_samples_are_where_the_layer_sees_them() -> None:
    assert products("tokens first")[0].samples == Samples(1)
    assert products("left")[0].samples == FIRST


def test_a_copy_is_no_part_of_the_parameter() -> None:
    assert products("copied") == []
