"""Components: sets of labels by the places they lie in, in the order of the model and of its heads."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from secateur.pipeline.structure.graph.components import Components, by_head, by_signature, components_of, numbered
from secateur.pipeline.structure.graph.tracer import trace_model


def components(*at: list[int], heads: list[list[list[int]]] | None = None) -> Components:
    """Components as they lie in some places, and as heads `[heads, dims]`."""
    places = {(f"p{index}", 0): np.array(found, dtype=np.int64) for index, found in enumerate(at)}
    return Components(np.arange(20), [np.array(rows) for rows in heads or []], places, {}, {})


@given(st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=8), min_size=1, max_size=4))
def test_components_of_a_family_lie_in_the_same_places_as_often(at: list[list[int]]) -> None:
    counts = {
        component: tuple(Counter(found)[component] for found in at) for component in dict.fromkeys(np.concatenate(at))
    }
    expected: dict[tuple[int, ...], list[int]] = {}
    for component, signature in counts.items():  # in the order in which the model has them
        expected.setdefault(signature, []).append(int(component))
    found = by_signature(components(*at))
    assert [members for _, members in found] == list(expected.values())
    for (places, _), signature in zip(found, expected, strict=True):
        assert places == [(f"p{index}", 0) for index, count in enumerate(signature) if count]


def test_units_come_head_by_head_where_they_form_heads() -> None:
    rows = [[[0, 2], [1, 3]]]
    assert by_head(components([0], heads=rows), [0, 1, 2, 3]) == ([0, 2, 1, 3], 2)
    assert by_head(components([0], heads=rows), [0, 1, 2]) == ([0, 1, 2], 1), "one of the second head is missing"
    assert by_head(components([0], heads=[[[0, 1, 2, 3]]]), [0, 1, 2, 3]) == ([0, 1, 2, 3], 1), "a single head"
    assert by_head(components([0]), [3, 1]) == ([3, 1], 1)


def test_units_may_be_some_of_the_dimensions_of_every_head() -> None:
    rows = [[[7, 0, 2, 8], [7, 1, 3, 8]]]
    assert by_head(components([0], heads=rows), [0, 1, 2, 3]) == ([0, 2, 1, 3], 2)
    assert by_head(components([0], heads=rows), [7, 8]) == ([7, 8], 1), "these are of all heads"


def test_heads_that_share_keys_are_one() -> None:
    assert by_head(components([0], heads=[[[0, 1], [0, 1], [2, 3], [2, 3]]]), [0, 1, 2, 3]) == ([0, 1, 2, 3], 2)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.lists(st.integers(0, 9), min_size=1, unique=True))
def test_positions_have_the_number_of_their_component(found: list[int], live: list[int]) -> None:
    expected = [live.index(component) if component in live else -1 for component in found]
    assert list(numbered(np.array(found), live)) == expected


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_the_components_of_a_unit_are_those_that_belong_to_it(of: list[int]) -> None:
    found = replace(components([0]), units=components([0]), unit_of=np.array(of))
    for unit in range(max(of) + 1):
        assert found.within(unit) == [component for component, its in enumerate(of) if its == unit]
    assert components([0]).within(3) == [3], "without heads a unit is its component"


def test_all_positions_of_a_model_have_their_component() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 3))
    trace = trace_model(model, torch.randn(1, 4))
    found = components_of(trace)
    assert set(found.at) == {
        *(("0.weight", 0), ("0.weight", 1), ("0.bias", 0), ("1.weight", 0), ("1.bias", 0)),
        *(("2.weight", 0), ("2.weight", 1), ("2.bias", 0)),
    }
    hidden = found.at["0.weight", 0].tolist()
    assert hidden == found.at["2.weight", 1].tolist() == found.at["1.bias", 0].tolist()
    assert not set(hidden) & set(found.reasons)
    assert set(found.at["2.weight", 0].tolist()) <= set(found.reasons)
    assert found.marks["norm"] == set(hidden)
    assert found.marks["query_key"] == found.marks["lost"] == set()
