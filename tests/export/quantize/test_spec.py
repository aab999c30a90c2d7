from __future__ import annotations

from typing import Any

import pytest

from secateur.core.errors import RecipeError
from secateur.export.quantize.spec import Quantization, QuantizeSpec


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("rule", "minmaxx", "one of measured, minmax, entropy, percentile, mse; did you mean 'minmax'"),
        ("balance", 1.5, "from 0 to 1"),
        ("softmax", "two", "one of measured, one"),
        ("keep", "blocks", "a list"),
        ("rest", "int8", "one of target, fp16, bf16, fp32"),
        ("samples_per_class", -1, "0 or more"),
        ("batch_size", 0, "1 or more"),
    ],
)
def test_values_out_of_range(field: str, value: Any, words: str) -> None:
    with pytest.raises(RecipeError, match=rf"export\.quantize\.{field} is .*{words}"):
        QuantizeSpec(**{field: value})


def test_defaults_quantise() -> None:
    assert Quantization().rule == QuantizeSpec().rule == "measured"
