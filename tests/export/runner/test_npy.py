"""Arrays from strangers: only plain numbers, and only where the header agrees with the size."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from secateur.export.runner.errors import BundleError
from secateur.export.runner.npy import DTYPES, parse_npy, read_npy


def stored(array: np.ndarray[Any, Any], **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def headed(header: str, rest: bytes = b"") -> bytes:
    text = header.encode("latin-1")
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + rest


@given(stn.arrays(st.sampled_from(DTYPES), stn.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)))
def test_what_was_saved(array: np.ndarray[Any, Any]) -> None:
    found = parse_npy(stored(array), "x")
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


class Bomb:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("it was unpickled",))


def test_a_header_that_numpy_would_pad_otherwise() -> None:
    assert parse_npy(
        headed("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }  \xa0 \n", b"1234"), "x"
    ).shape == (1,)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is no .npy file"),
        (pickle.dumps(Bomb()), "is no .npy file"),
        (stored(np.array([Bomb()], object), allow_pickle=True), "holds '|O'"),
        (stored(np.zeros((3, 2)).T), "the order of Fortran"),
        (stored(np.zeros(2, "f4"))[:-1], "8 bytes, but 7 follow"),
        (stored(np.zeros(2, "f4")) + b"x", "8 bytes, but 9 follow"),
        (b"\x93NUMPY\x02\x00" + (1 << 31).to_bytes(4, "little"), "claims 2147483648 bytes"),
        (headed("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,)}"), "but 0 follow"),
        (headed("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}"), "has the shape"),
        (headed("{'descr': '<f4', 'fortran_order': False, 'shape': (True,)}", b"1234"), "has the shape"),
        (headed("{'descr': '<f4', 'fortran_order': False, 'shape': [1]}", b"1234"), "has the shape"),
        (headed("{'descr': '<f4'}"), "does not hold"),
        (headed("__import__('os')"), "cannot be read"),
        (headed("(" * 5000), "cannot be read"),
        (headed("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': ()}", b"1234"), "holds"),
    ],
)
def test_what_is_no_plain_array(data: bytes, words: str) -> None:
    with pytest.raises(BundleError, match=words):
        parse_npy(data, "x")


def test_a_file(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(3))
    assert read_npy(tmp_path / "x.npy", "x").tolist() == [0, 1, 2]
    with pytest.raises(BundleError, match="cannot read y"):
        read_npy(tmp_path / "y.npy", "y")
