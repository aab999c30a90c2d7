"""Shapes that fit an input, and outputs by name."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from secateur.core.errors import ExportError
from secateur.export.tensors import DYNAMIC, TensorInfo, flat_outputs

SHAPES = st.lists(st.integers(1, 3), max_size=4)


@given(shape=SHAPES, dynamic=st.sets(st.integers(0, 3)), other=SHAPES)
def test_a_shape_fits_when_every_fixed_size_is_equal(shape: list[int], dynamic: set[int], other: list[int]) -> None:
    info = TensorInfo("x", "float32", tuple(DYNAMIC if axis in dynamic else size for axis, size in enumerate(shape)))
    assert info.accepts(tuple(shape))
    fits = len(shape) == len(other)
    for axis, size in enumerate(other):
        fits = fits and (axis in dynamic or shape[axis] == size)
    assert info.accepts(tuple(other)) == fits


def test_names_of_outputs() -> None:
    a, b, c = (torch.full((1,), float(number)) for number in range(3))
    assert flat_outputs(a) == {"logits": a}
    assert list(flat_outputs((a, [b, c]))) == ["output_0", "output_1_0", "output_1_1"]
    assert flat_outputs({"z": a, "a": (b, c)}) == {"z": a, "a_0": b, "a_1": c}


@pytest.mark.parametrize("value", [None, 3.0, (), {"a": None}, [torch.zeros(1), "x"]])
def test_what_is_no_tensor(value: object) -> None:
    if value == ():
        with pytest.raises(ExportError, match="tuple for its output"):
            flat_outputs(value)
    else:
        with pytest.raises(ExportError, match="only tensors"):
            flat_outputs(value)
