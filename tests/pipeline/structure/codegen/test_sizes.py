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
