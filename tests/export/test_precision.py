"""Typed copies: the original stays, and what does not fit is said."""

from __future__ import annotations

import pytest
import torch

from secateur.core.errors import ExportError
from secateur.export.precision import (
    COSINES,
    DTYPES,
    EIGHT_BITS,
    OPSETS,
    PRECISIONS,
    TOLERANCES,
    Precision,
    parse_precision,
    parse_type,
    typed_copy,
)
from tests.export.conftest import Cnn


def test_every_precision_is_complete() -> None:
    assert set(PRECISIONS) == set(DTYPES) == set(OPSETS)
    assert {*PRECISIONS, *EIGHT_BITS} == set(TOLERANCES) == set(COSINES)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_typed_copy_has_one_type_and_leaves_the_model(precision: Precision) -> None:
    model = Cnn()
    copy = typed_copy(model, precision)
    assert {tensor.dtype for tensor in copy.state_dict().values() if tensor.is_floating_point()} == {DTYPES[precision]}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert (copy is model) == (precision == "fp32")


def test_weights_out_of_range_and_wrong_words() -> None:
    model = Cnn()
    with torch.no_grad():
        model.norm.running_var[0] = 1e5
    with pytest.raises(ExportError, match=r"norm.running_var holds 1e\+05, but fp16 ends at 6.55e\+04"):
        typed_copy(model, "fp16")
    typed_copy(model, "bf16")
    with pytest.raises(ExportError, match="'fp61' is not one of fp32, fp16, bf16, int8, fp8; did you mean 'fp16'"):
        parse_precision("fp61")
    with pytest.raises(ExportError, match="int8 needs calibration images: export the model in fp32, and give"):
        parse_type("int8")
