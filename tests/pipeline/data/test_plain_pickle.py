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

from secateur.core.errors import DataError
from secateur.pipeline.data.cifar10 import open_cifar10
from secateur.pipeline.data.plain_pickle import read_plain_pickle
from tests.pipeline.data.sources import pixels, write_cifar10

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


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


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


def test_cifar10_batches_of_every_protocol_are_read(tmp_path: Path) -> None:
    for protocol in (0, 2, 5):
        sides = open_cifar10(write_cifar10(tmp_path / str(protocol) / "cifar-10-batches-py", protocol).parent)
        assert np.array_equal(np.asarray(sides.train.read(23)), pixels(20, 32, seed=1)[3])
        assert sides.train.labels[:12].tolist() == [*range(10), 0, 1]
        assert sides.train.classes[3] == "cat"
        assert sides.held_out is not None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({b"data": pixels(2, 32).reshape(2, -1), b"labels": [1]}, r"2 images, but labels of the shape \[1\]"),
        ({b"data": pixels(2, 32), b"labels": [1, 2]}, "is no CIFAR-10 batch"),
        ({b"labels": [1, 2]}, "is no CIFAR-10 batch"),
        ([1, 2], "is no CIFAR-10 batch"),
        ({b"data": pixels(2, 32).reshape(2, -1), b"labels": [1, 10]}, "the label 10, but labels go from 0 to 9"),
        (Calls(os.mkdir, "x"), r"asks for \w+.mkdir"),
    ],
)
def test_a_bad_batch_is_one_sentence(content: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match=message):
        open_cifar10(tmp_path)


def test_a_truncated_batch_is_one_sentence(tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path / "f")
    whole = (folder / "data_batch_1").read_bytes()
    for part in (whole[:1000], b"", b"garbage"):
        (folder / "data_batch_1").write_bytes(part)
        with pytest.raises(DataError, match="cannot read the CIFAR-10 batch"):
            open_cifar10(folder)
