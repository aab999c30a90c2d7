"""Words of precisions: each is complete, and wrong ones are said."""

from __future__ import annotations

import pytest

from secateur.core.errors import ExportError
from secateur.export.precision import (
    COSINES,
    EIGHT_BITS,
    OPSETS,
    PRECISIONS,
    TOLERANCES,
    parse_precision,
    parse_type,
)


def test_every_precision_is_complete() -> None:
    assert set(PRECISIONS) == set(OPSETS)
    assert {*PRECISIONS, *EIGHT_BITS} == set(TOLERANCES) == set(COSINES)


def test_wrong_words() -> None:
    with pytest.raises(ExportError, match="'fp61' is not one of fp32, fp16, bf16, int8, fp8; did you mean 'fp16'"):
        parse_precision("fp61")
    with pytest.raises(ExportError, match="int8 needs calibration images: export the model in fp32, and give"):
        parse_type("int8")
