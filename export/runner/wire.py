"""Protocol buffers as they lie in a file: the fields of a message, found by their lengths without copying them."""

from __future__ import annotations

from typing import Any, Iterator, Tuple

Field = Tuple[int, int, int, int]
"""The field's number, its value where it is a whole number, and where its content begins and ends."""
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def fields(data: Any, start: int, end: int) -> Iterator[Field]:
    """The fields of the message in `data[start:end]`, in their order; whole numbers are signed.

    Raises `ValueError` for one that is cut off, or of a kind that there is not.
    """
    at = start
    while at < end:
        tag, at = _varint(data, at, end)
        number, kind = tag >> 3, tag & 7
        value, size = 0, 0
        if kind == VARINT:
            value, at = _varint(data, at, end)
            if value >= 1 << 63:
                value -= 1 << 64
        elif kind == BYTES:
            size, at = _varint(data, at, end)
        elif kind == FIXED64:
            size = 8
        elif kind == FIXED32:
            size = 4
        else:
            raise ValueError(f"a field is of the kind {kind}")
        if not number or size > end - at:
            raise ValueError(f"the field {number} is cut off")
        yield number, value, at, at + size
        at += size


def numbers(data: Any, field: Field) -> list[int]:
    """The whole numbers of one field of a list: one, or several that are packed."""
    _, value, at, end = field
    if at == end:
        return [value]
    found = []
    while at < end:
        value, at = _varint(data, at, end)
        found.append(value - (1 << 64) if value >= 1 << 63 else value)
    return found


def _varint(data: Any, at: int, end: int) -> tuple[int, int]:
    """An unsigned number of 7 bits a byte, the lowest first, and where the next field begins."""
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & ((1 << 64) - 1), at
        shift += 7
    raise ValueError("a number is cut off")
