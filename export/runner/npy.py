"""Arrays in .npy files, read without pickle; a header is believed only where the file's size agrees."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np

from .errors import BundleError

MOST_BYTES = 1 << 31
"""Of a file, all images of a batch together."""
MOST_HEADER = 10000
"""Bytes of a header; numpy itself writes about 120."""
DTYPES = ("<f2", "<f4", "<f8", "|i1", "|u1", "<i2", "<i4", "<i8", "|b1")


def read_npy(path: Path, where: str) -> np.ndarray[Any, Any]:
    """The array in a file; raises `BundleError` naming `where` for one that is no plain array of numbers."""
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise BundleError(f"{where} has {size} bytes, but at most {MOST_BYTES} are read")
        data = path.read_bytes()
    except OSError as error:
        raise BundleError(f"cannot read {where}: {error.strerror or error}") from error
    return parse_npy(data, where)


def parse_npy(data: bytes, where: str) -> np.ndarray[Any, Any]:
    """The array in the bytes of an .npy file; its header is compared with their number before anything is allocated."""
    if data[:6] != b"\x93NUMPY" or len(data) < 12 or data[6] not in (1, 2, 3):
        raise BundleError(f"{where} is no .npy file: write one with numpy.save")
    wide = data[6] > 1
    start = 12 if wide else 10
    length = int.from_bytes(data[8:start], "little")
    if length > MOST_HEADER or start + length > len(data):
        raise BundleError(
            f"the header of {where} claims {length} bytes, but at most {min(MOST_HEADER, len(data) - start)} are there "
            "or allowed"
        )
    try:
        header = ast.literal_eval(data[start : start + length].decode("latin-1").strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise BundleError(f"the header of {where} cannot be read ({str(error)[:100]})") from error
    if not isinstance(header, dict) or set(header) != {"descr", "fortran_order", "shape"}:
        raise BundleError(f"the header of {where} does not hold descr, fortran_order and shape")
    dtype, shape = header["descr"], header["shape"]
    if dtype not in DTYPES or header["fortran_order"] is not False:
        raise BundleError(
            f"{where} holds {str(dtype)[:60]!r} in the order of {'Fortran' if header['fortran_order'] else 'C'}, but "
            f"only {', '.join(DTYPES)} in that of C are read"
        )
    if not isinstance(shape, tuple) or len(shape) > 16 or not all(type(one) is int and one >= 0 for one in shape):
        raise BundleError(f"{where} has the shape {str(shape)[:80]}, but up to 16 whole numbers are needed")
    wanted = np.dtype(dtype).itemsize
    for size in shape:
        wanted *= size
    if wanted != len(data) - start - length:
        raise BundleError(
            f"the header of {where} claims {dtype} {list(shape)}, {wanted} bytes, but "
            f"{len(data) - start - length} follow"
        )
    return np.frombuffer(data, np.dtype(dtype), offset=start + length).reshape(shape)
