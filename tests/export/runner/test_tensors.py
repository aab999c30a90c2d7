"""Shapes that fit an input, and outputs by name."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from secateur.export.runner.tensors import DYNAMIC, TensorInfo

SHAPES = st.lists(st.integers(1, 3), max_size=4)


@given(shape=SHAPES, dynamic=st.sets(st.integers(0, 3)), other=SHAPES)
def test_a_shape_fits_when_every_fixed_size_is_equal(shape: list[int], dynamic: set[int], other: list[int]) -> None:
    info = TensorInfo("x", "float32", tuple(DYNAMIC if axis in dynamic else size for axis, size in enumerate(shape)))
    assert info.accepts(tuple(shape))
    fits = len(shape) == len(other)
    for axis, size in enumerate(other):
        fits = fits and (axis in dynamic or shape[axis] == size)
    assert info.accepts(tuple(other)) == fits
