import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import AttributeProto, TensorProto

from secateur.export.runner.wire import fields, numbers

whole = st.integers(-(2**63), 2**63 - 1)


@given(whole, st.lists(whole), st.binary(), st.floats(width=32, allow_nan=False))
def test_finds_what_protobuf_wrote(one: int, several: list[int], text: bytes, real: float) -> None:
    data = AttributeProto(i=one, ints=several, s=text, f=real, type=AttributeProto.INT).SerializeToString()
    found = list(fields(data, 0, len(data)))
    assert [value for number, value, _, _ in found if number == 3] == [one]
    assert [value for field in found if field[0] == 8 for value in numbers(data, field)] == several
    assert [data[start:end] for number, _, start, end in found if number == 4] == [text]
    assert [struct.unpack("<f", data[start:end]) for number, _, start, end in found if number == 2] == [(real,)]


@given(st.lists(whole, min_size=1))
def test_unpacks_numbers(several: list[int]) -> None:
    data = TensorProto(int64_data=several).SerializeToString()
    (field,) = fields(data, 0, len(data))
    assert numbers(data, field) == several


@pytest.mark.parametrize(
    "data",
    [b"\x0a", b"\x0a\x02x", b"\x80", b"\x08" + b"\xff" * 10, b"\x0b", b"\x0e\x01", b"\x02\x00", b"\x0d\0\0\0", b"\x09"],
)
def test_refuses_what_is_cut_off_or_unknown(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"cut off|of the kind"):
        list(fields(data, 0, len(data)))
