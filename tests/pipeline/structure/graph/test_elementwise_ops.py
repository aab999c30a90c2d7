"""Elementwise operations tie what they broadcast together; a sum with what was computed from a value is a stream."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.pipeline.structure.graph.following import of

LENGTHS = (2, 3, 4)


@pytest.mark.parametrize(
    "function", [F.relu, F.gelu, torch.atan, torch.zeros_like, lambda p: p.clone().mul_(2), lambda p: -p.exp()]
)
def test_a_function_of_each_element_changes_nothing(function: Callable[[Tensor], Tensor]) -> None:
    found = of(lambda p, x: function(p), (4, 6))
    assert found.along(0, 0) == found.at("p0", 0)
    assert found.along(0, 1) == found.at("p0", 1)
    assert len(set(found.at("p0", 0) + found.at("p0", 1))) == 10


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.booleans(), min_size=3, max_size=3),
    st.lists(st.booleans(), min_size=3, max_size=3),
    st.sampled_from([torch.add, torch.mul, torch.maximum, lambda p, q: torch.where(p > 0, p, q)]),
)
def test_elements_that_broadcast_to_the_same_go_together(
    one: list[bool], two: list[bool], function: Callable[[Tensor, Tensor], Tensor]
) -> None:
    shapes = [tuple(n if yes else 1 for n, yes in zip(LENGTHS, which, strict=True)) for which in (one, two)]
    found = of(lambda p, q, x: function(p, q), *shapes)
    for dim, (in_one, in_two) in enumerate(zip(one, two, strict=True)):
        if in_one and in_two:
            assert found.at("p0", dim) == found.at("p1", dim)
        if in_one or in_two:
            name = "p0" if in_one else "p1"
            assert len(set(found.at(name, dim))) == LENGTHS[dim]
            assert found.along(0, dim) == found.at(name, dim)
            assert not found.reason(name, dim)


def test_what_is_added_to_the_input_stays() -> None:
    found = of(lambda p, x: x + p, (2,))
    assert "no parameter makes" in found.reason("p0", 0)
    assert not of(lambda p, x: x[:, :1] + p, (2,)).reason("p0", 0)


def test_a_sum_with_what_was_computed_from_it_is_a_stream() -> None:
    def residual(p: Tensor, q: Tensor, x: Tensor) -> Tensor:
        stream = x @ p
        return stream + stream @ q

    found = of(residual, (2, 6), (6, 6))
    assert found.at("p0", 1) == found.at("p1", 0) == found.at("p1", 1)
    assert found.marks("width") == set(found.at("p0", 1))
    assert not of(lambda p, q, x: x @ p + x @ q, (2, 6), (2, 6)).marks("width")
    assert not of(lambda p, q, x: (x @ p) * (x @ p @ q), (2, 6), (6, 6)).marks("width")


def test_one_slope_serves_all_channels_and_several_go_with_theirs() -> None:
    found = of(lambda p, slope, x: F.prelu(p, slope), (4, 6), (6,))
    assert found.at("p1", 0) == found.at("p0", 1)
    found = of(lambda p, slope, x: F.prelu(p, slope), (4, 6), (1,))
    assert found.along(0, 1) == found.at("p0", 1)
    assert not found.reason("p0", 1)


def test_numbers_of_a_shape_of_their_own_tie_nothing() -> None:
    found = of(lambda p, x: p * p.new_empty((4, 1)).bernoulli_(0.5), (4, 6))
    assert not found.reason("p0", 1) and found.along(0, 1) == found.at("p0", 1)
    assert "no parameter makes" in found.reason("p0", 0)


def test_what_is_written_into_a_part_of_a_tensor_stays() -> None:
    def write(p: Tensor, x: Tensor) -> Tensor:
        whole = torch.zeros(4, 6)
        whole[:, 1:4] = p
        return whole

    found = of(write, (4, 3))
    assert "fixed size" in found.reason("p0", 1)
