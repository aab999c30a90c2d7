"""A pickle reader that runs no code: it knows plain values and numeric NumPy arrays, and refuses everything else.

NumPy's own reconstruction functions are not called either: a crafted dtype state could make them read raw bytes as
object pointers. Small stand-ins collect the parts instead, and the arrays are built from bytes here.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_VALUES, DEEPEST = 1_000_000, 20
"""Values in a pickle, and lists and dictionaries in each other."""
_NUMERIC = frozenset(("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"))


class _Dtype:
    """A numeric dtype by name; the state only adds the byte order."""

    def __init__(self, name: object = "", *_: object) -> None:
        text = name.decode("ascii") if isinstance(name, bytes) else str(name)
        if text != "b1" and text.lstrip("<>|=") not in _NUMERIC:
            raise pickle.UnpicklingError(f"it holds an array of the type {text!r}")
        self.dtype = np.dtype(text)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1].decode("ascii") if isinstance(state[1], bytes) else state[1]
        if order == ">":
            self.dtype = self.dtype.newbyteorder(">")


class _Array:
    """An array in the making: `_reconstruct` makes it empty, the state fills it."""

    def __init__(self, *_: object) -> None:
        self.array: NDArray[Any] = np.empty(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, raw = state
        self.array = _from_bytes(raw, kind, shape, "F" if fortran else "C")


def _from_bytes(raw: object, kind: _Dtype, shape: tuple[int, ...], order: str = "C") -> NDArray[Any]:
    data = raw.encode("latin-1") if isinstance(raw, str) else raw
    if not isinstance(data, bytes | bytearray) or len(data) != math.prod(shape) * kind.dtype.itemsize:
        raise pickle.UnpicklingError(f"it holds an array of the shape {shape} without its values")
    return np.frombuffer(bytes(data), kind.dtype).reshape(shape, order="F" if order == "F" else "C")


def _frombuffer(raw: object, kind: _Dtype, shape: tuple[int, ...], order: str, *_: object) -> _Array:
    made = _Array()
    made.array = _from_bytes(raw, kind, shape, order)
    return made


def _scalar(kind: _Dtype, raw: object) -> Any:
    return _from_bytes(raw, kind, ())[()]


def _encode(text: str, encoding: str) -> bytes:
    return text.encode("latin-1" if encoding == "latin1" else "ascii")


_STAND_INS: dict[tuple[str, str], Any] = {("numpy", "dtype"): _Dtype, ("numpy", "ndarray"): _Array}
_STAND_INS |= {("_codecs", "encode"): _encode}
for _core in ("numpy.core", "numpy._core"):
    _STAND_INS[_core + ".multiarray", "_reconstruct"] = _Array
    _STAND_INS[_core + ".multiarray", "scalar"] = _scalar
    _STAND_INS[_core + ".numeric", "_frombuffer"] = _frombuffer


class _PlainUnpickler(pickle._Unpickler):
    """The reader in Python: that in C makes room for as many values and bytes as a few bytes of a file say."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is no plain value")
        return _STAND_INS[module, name]

    def persistent_load(self, pid: object) -> Any:
        raise pickle.UnpicklingError("it refers to objects outside the file")


def read_plain_pickle(path: Path) -> Any:
    """The value in a pickle of dictionaries, lists, numbers, bytes, text and numeric arrays.

    Strings written by Python 2 come back as bytes. Raises `pickle.UnpicklingError` for anything else and for a
    damaged file, and `OSError` when the file cannot be read.
    """
    data = path.read_bytes()
    try:
        return _unwrapped(_PlainUnpickler(BytesIO(data), encoding="bytes").load(), count(1), 0)
    except Exception as error:  # a damaged pickle raises nearly anything
        raise pickle.UnpicklingError(str(error) or type(error).__name__) from error


def _unwrapped(value: Any, seen: Iterator[int], depth: int) -> Any:
    """The value with stand-ins replaced by the arrays that they hold; what stands twice in it counts twice."""
    if depth > DEEPEST or next(seen) > MOST_VALUES:
        raise pickle.UnpicklingError(f"it holds more than {MOST_VALUES:,} values, or {DEEPEST} in each other")
    if isinstance(value, _Array):
        return value.array
    if isinstance(value, dict):
        return {key: _unwrapped(item, seen, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_unwrapped(item, seen, depth + 1) for item in value]
    return value
