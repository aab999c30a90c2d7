"""Pickles of plain values and arrays are read as pickle reads them; anything that could run code is refused."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from secateur.pipeline.data.plain_pickle import read_plain_pickle
from tests.pipeline.data.calls import Calls

DTYPES = st.sampled_from(["u1", "i4", "<i8", ">i8", ">f4", "f8", "?"])


@given(
    array=arrays.arrays(DTYPES, arrays.array_shapes(max_dims=3, max_side=4), elements={"allow_nan": False}),
    protocol=st.integers(0, 5),
    fortran=st.booleans(),
)
def test_arrays_come_back_as_they_were(
    array: np.ndarray[Any, Any], protocol: int, fortran: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "array.pickle"
    array = np.asfortranarray(array) if fortran else array
    path.write_bytes(
        pickle.dumps({"a": [array, array.ravel()[0]], "b": 1.5, "c": "text", "d": None}, protocol=protocol)
    )
    back = read_plain_pickle(path)
    assert np.array_equal(back["a"][0], array)
    assert back["a"][0].dtype == array.dtype
    assert back["a"][1] == array.ravel()[0]
    assert (back["b"], back["c"], back["d"]) == (1.5, "text", None)


def test_python_2_strings_come_back_as_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"(dp0\nS'data'\np1\nS'\\xff'\np2\ns.")
    assert read_plain_pickle(tmp_path / "x") == {b"data": b"\xff"}


@pytest.mark.parametrize("protocol", range(6))
def test_calls_are_refused_and_not_made(protocol: int, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for evil in (
        Calls(os.mkdir, str(mark)),
        Calls(eval, f"__import__('os').mkdir({str(mark)!r})"),
        Calls(np.memmap, str(mark), "u1", "w+", 0, 4),
        Calls(getattr, "x", "upper"),
        Calls(np.load, "x"),
        Path("x"),
        np.array([{}], dtype=object),
        np.array([("a", 1)], dtype=[("x", "U1"), ("y", "i4")]),
    ):
        (tmp_path / "x").write_bytes(pickle.dumps([evil], protocol=protocol))
        with pytest.raises(pickle.UnpicklingError):
            read_plain_pickle(tmp_path / "x")
        assert not mark.exists()
