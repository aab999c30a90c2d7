"""The tolerances of a recipe: of every precision, those of its table where nothing else is said."""

from __future__ import annotations

import pytest

from secateur.core.errors import RecipeError
from secateur.export.precision import TOLERANCES
from secateur.export.tolerances import ToleranceSpec


def test_every_precision_has_the_tolerance_of_the_table_or_the_one_that_is_given() -> None:
    assert {word: ToleranceSpec().of(word) for word in TOLERANCES} == TOLERANCES
    changed = ToleranceSpec(fp16=0.05)
    assert {word: changed.of(word) for word in TOLERANCES} == {**TOLERANCES, "fp16": 0.05}


def test_all_or_nothing_is_no_tolerance() -> None:
    with pytest.raises(RecipeError, match=r"^export.parity.int8 is 1, but must be between 0 and 1"):
        ToleranceSpec(int8=1)
