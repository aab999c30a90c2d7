"""How an interval stands to a limit below it and to one above it."""

from __future__ import annotations

import pytest

from secateur.benchmarks.bootstrap import Interval
from secateur.benchmarks.checks import at_least, at_most, interval_check, place_name


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [
        (1.3, 1.5, "pass"),
        (1.31, 1.5, "pass"),
        (1.1, 1.29, "fail"),
        (1.2, 1.3, "inconclusive"),
        (1.29, 2, "inconclusive"),
    ],
)
def test_how_an_interval_is_judged(low: float, high: float, outcome: str) -> None:
    assert at_least(Interval((low + high) / 2, low, high), 1.3) == outcome


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [
        (1.1, 1.3, "pass"),
        (1.0, 1.2, "pass"),
        (1.31, 1.5, "fail"),
        (1.3, 1.5, "inconclusive"),
        (1, 1.31, "inconclusive"),
    ],
)
def test_how_an_interval_is_judged_that_should_be_small(low: float, high: float, outcome: str) -> None:
    assert at_most(Interval((low + high) / 2, low, high), 1.3) == outcome


def test_a_check_carries_its_interval_and_its_place() -> None:
    check = interval_check("speedup", Interval(1.4, 1.3, 1.5), 1.2, "pass", "a sentence", ("onnxruntime:cpu", 8))
    assert (check.value, check.low, check.high, check.target, check.batch) == (1.4, 1.3, 1.5, "onnxruntime:cpu", 8)
    assert place_name(("onnxruntime:cpu", 8)) == "onnxruntime:cpu batch 8"
