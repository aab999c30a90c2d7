"""What a recipe may say about data."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter

from secateur.core.errors import DataError
from secateur.pipeline.data.spec import DataSpec


@pytest.mark.parametrize(
    "spec",
    [{}, {"path": "a", "calibration": "b"}, {"calibration": "a"}, {"path": "a", "calibration": "b", "evaluation": "c"}],
)
def test_a_spec_needs_a_path_or_a_pair(spec: dict[str, str]) -> None:
    with pytest.raises(DataError, match="either path alone or both calibration and evaluation"):
        DataSpec(**spec)


@pytest.mark.parametrize("part", [0, 1, -0.1, float("nan")])
def test_a_spec_refuses_a_share_outside_0_to_1(part: float) -> None:
    with pytest.raises(DataError, match="held_out"):
        DataSpec(path="digits", held_out=part)


def test_pydantic_validates_a_spec() -> None:
    assert TypeAdapter(DataSpec).validate_python({"path": "digits"}) == DataSpec(path="digits")
    with pytest.raises(DataError, match="either path alone"):
        TypeAdapter(DataSpec).validate_python({"calibration": "x"})


def test_a_spec_refuses_other_numbers_and_words() -> None:
    with pytest.raises(DataError, match="num_classes is 0, but must be 1 or more"):
        DataSpec(path="digits", num_classes=0)
    with pytest.raises(DataError, match="duplicates is 'keep', but must be refuse or drop"):
        DataSpec(path="digits", duplicates="keep")  # type: ignore[arg-type]
