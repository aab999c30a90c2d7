"""Concatenation ties the other dimensions, chunks tie their parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from secateur.pipeline.structure.graph.coupling import FIXED
from tests.pipeline.structure.graph.following import of


def test_concatenation_ties_the_other_dimensions() -> None:
    found = of(lambda p, q, x: torch.cat([p, q], dim=1), (4, 6), (4, 2))
    assert found.at("p0", 0) == found.at("p1", 0)
    assert len(set(found.at("p0", 1) + found.at("p1", 1))) == 8
    assert found.along(0, 1) == found.at("p0", 1) + found.at("p1", 1)


def test_what_is_concatenated_with_the_input_keeps_its_place() -> None:
    found = of(lambda p, x: torch.cat([p.expand(len(x), 6), x], dim=1), (1, 6))
    assert found.along(0, 1) == [*found.at("p0", 1), *[found.trace.coupling.components()[FIXED]] * 2]


@pytest.mark.parametrize("made", [torch.zeros, lambda *shape: torch.full(shape, 2.0)])
def test_numbers_that_are_all_alike_have_the_units_of_what_they_are_concatenated_with(made: Callable[..., Any]) -> None:
    found = of(lambda p, x: torch.cat([x @ p, made(len(x), 2, 6)], dim=1), (4, 6), example=torch.zeros(1, 5, 4))
    assert found.along(0, 2) == found.at("p0", 1) and not found.reason("p0", 1)


@pytest.mark.parametrize("empty", [lambda y: y[:, :0], lambda y: torch.zeros(0)])
def test_an_empty_part_hides_nothing(empty: Callable[..., Any]) -> None:
    found = of(lambda p, x: torch.cat([empty(x @ p), x @ p], dim=1), (4, 6), example=torch.zeros(1, 5, 4))
    assert found.along(0, 2) == found.at("p0", 1) and not found.reason("p0", 1)


def test_parts_of_a_chunk_go_together() -> None:
    found = of(lambda p, x: torch.chunk(p, 3, dim=1), (4, 6))
    one, two, three = found.at("p0", 1)[:2], found.at("p0", 1)[2:4], found.at("p0", 1)[4:]
    assert one == two == three
    assert len(set(one)) == 2
    assert len(set(found.at("p0", 0))) == 4


def test_queries_keys_and_values_of_a_chunk_go_on_their_own() -> None:
    def attention(p: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (x @ p).chunk(3, dim=-1)
        return F.scaled_dot_product_attention(q, k, v)

    found = of(attention, (4, 6), example=torch.zeros(1, 5, 4))
    q, k, v = found.at("p0", 1)[:2], found.at("p0", 1)[2:4], found.at("p0", 1)[4:]
    assert q == k
    assert len(set(k + v)) == 4


def test_unequal_parts_of_a_chunk_stay() -> None:
    found = of(lambda p, x: torch.chunk(p, 2, dim=0), (5, 2))
    assert "unequal" in found.reason("p0", 0)
    assert not found.reason("p0", 1)


@pytest.mark.parametrize("dim", [1, -1])
def test_the_halves_of_a_gated_linear_unit_go_together(dim: int) -> None:
    found = of(lambda p, x: F.glu(p, dim), (4, 6))
    assert found.at("p0", 1)[:3] == found.at("p0", 1)[3:] == found.along(0, 1)
    assert len(set(found.at("p0", 0) + found.at("p0", 1))) == 7
    assert found.results[0].shape == (4, 3)
