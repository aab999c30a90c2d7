"""Sizes that are left: equal to those of a tensor from which the removed elements are really taken."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from secateur.pipeline.structure.codegen.calls import CodeError
from secateur.pipeline.structure.codegen.sizes import RemainingSizes
from secateur.pipeline.structure.graph.value import Value

SHAPE = (2, 3, 4)


def sizes(alive: list[bool]) -> RemainingSizes:
    """Sizes where each label is a component, alive or not."""
    return RemainingSizes("here", {}, np.arange(len(alive)), torch.tensor(alive))


def labels(shape: tuple[int, ...], first: int = 0) -> Tensor:
    return torch.arange(first, first + int(np.prod(shape))).reshape(shape)


@given(st.lists(st.booleans(), min_size=7, max_size=7))
def test_maps_along_single_dimensions_leave_what_their_labels_leave(alive: list[bool]) -> None:
    value = Value(SHAPE, (labels((1, 3, 1)), labels((1, 1, 4), 3)))
    assert sizes(alive).of(value) == [2, sum(alive[:3]), sum(alive[3:])]


@given(st.lists(st.booleans(), min_size=12, max_size=12))
def test_a_map_over_two_dimensions_leaves_a_block_or_nothing_that_has_a_shape(alive: list[bool]) -> None:
    value = Value(SHAPE, (labels((1, 3, 4)),))
    rows = np.array(alive).reshape(3, 4)
    widths = {int(row.sum()) for row in rows if row.any()}
    if len(widths) > 1:
        with pytest.raises(CodeError, match="one width only"):
            sizes(alive).of(value)
    else:
        assert sizes(alive).of(value) == [2, int(rows.any(1).sum()), widths.pop() if widths else 0]


@given(st.lists(st.booleans(), min_size=24, max_size=24))
def test_a_dimension_divides_slices_that_have_a_shape_each(alive: list[bool]) -> None:
    value, found = Value(SHAPE, (labels(SHAPE),)), sizes(alive)
    try:
        found.of(value)
    except CodeError:
        pass
    else:
        assert found.unequal(value) is None
        return

    def even(part: np.ndarray) -> bool:
        """Whether a slice `[a, b]` is a block: its rows that keep anything keep the same number."""
        return len({int(row.sum()) for row in part if row.any()}) < 2

    full = np.array(alive).reshape(SHAPE)
    dims = [dim for dim in (0, 1) if all(even(np.take(full, index, dim)) for index in range(SHAPE[dim]))]
    if not dims:
        with pytest.raises(CodeError, match="one width only"):
            found.unequal(value)
        return
    dim = dims[0]
    assert found.unequal(value) == dim
    for index in range(SHAPE[dim]):
        part = np.take(full, [index], dim)
        shape = found.slice(value, dim, index)
        assert int(np.prod(shape)) == int(part.sum())
        assert shape[dim] == 1 or not part.any()


@given(st.lists(st.booleans(), min_size=4, max_size=4))
def test_along_has_the_positions_that_keep_anything(alive: list[bool]) -> None:
    found = sizes(alive).along(Value(SHAPE, (labels((1, 1, 4)),)), 2)
    assert (found is None) == all(alive)
    if found is not None:
        assert found.tolist() == alive
    assert sizes(alive).along(Value(SHAPE, (labels((1, 1, 4)),)), 1) is None
    vector = sizes(alive).along(Value((4,), (labels((4,)),)), 0)
    assert (vector is None) == all(alive) and (vector is None or vector.tolist() == alive)


@given(st.lists(st.booleans(), min_size=12, max_size=12))
def test_positions_within_heads_must_be_those_of_all_heads(alive: list[bool]) -> None:
    value, found = Value((2, 3, 4), (labels((1, 3, 4)),)), sizes(alive)
    rows = np.array(alive).reshape(3, 4)
    left = rows[rows.any(1)]
    if len(left) and (left != left[:1]).any():
        with pytest.raises(CodeError, match="differs from head to head"):
            found.along(value, 2)
    else:
        stays = found.along(value, 2)
        assert (stays is None) == bool(rows.any(0).all())
        if stays is not None:
            assert stays.tolist() == rows.any(0).tolist()
    heads = found.along(value, 1)
    assert (heads is None) == bool(rows.any(1).all())


@given(st.lists(st.booleans(), min_size=12, max_size=12), st.integers(0, 4), st.integers(0, 4))
def test_before_has_what_is_left_before_a_position_of_every_head(alive: list[bool], one: int, two: int) -> None:
    value, found = Value((2, 3, 4), (labels((1, 3, 4)),)), sizes(alive)
    rows = np.array(alive).reshape(3, 4)
    left = rows[rows.any(1)]
    expected = [{int(row[:position].sum()) for row in left} or {0} for position in (one, two)]
    if len(left) and left.all():
        assert found.before(value, 2, one, two) is None
    elif any(len(counts) > 1 for counts in expected):
        with pytest.raises(CodeError, match="differs from head to head"):
            found.before(value, 2, one, two)
    else:
        assert found.before(value, 2, one, two) == [counts.pop() for counts in expected]
    heads = found.before(value, 1, min(one, 3))
    assert heads == (None if rows.any(1).all() else [int(rows.any(1)[:one].sum())])


@given(st.lists(st.booleans(), min_size=12, max_size=12), st.sampled_from([1, 2, 3, 4]))
def test_steps_stay_or_go_as_a_whole(alive: list[bool], step: int) -> None:
    rows = [row for row in np.array(alive).reshape(3, 4).tolist() if any(row)]
    whole = 4 % step == 0 and all(
        len(set(row[start : start + step])) == 1 for row in rows for start in range(0, 4, step)
    )
    assert sizes(alive).in_steps(Value((2, 3, 4), (labels((1, 3, 4)),)), 2, step) == whole


def test_a_table_is_picked_from_where_something_has_gone() -> None:
    result, found = Value((2, 3, 4), (labels((1, 3, 4)),)), sizes([True, False, True, True] * 3)
    picked = found.picked(Value((2, 1, 4)), result)
    assert {place: index.tolist() for place, index in picked.items()} == {-1: [0, 2, 3]}
    heads = sizes([False] * 4 + [True, False, True, True] * 2).picked(Value((3, 4)), result)
    assert {place: index.tolist() for place, index in heads.items()} == {-2: [1, 2], -1: [0, 2, 3]}
    assert found.picked(Value((2, 3, 1)), result) == found.picked(result, result) == {}
    lengths = Value((2, 3, 4), (), None, True, frozenset({2}))
    uneven = sizes([True, False, True, True, False, *[True] * 4, False, True, True])
    assert {place: index.tolist() for place, index in uneven.picked(lengths, result).items()} == {-1: [0]}
