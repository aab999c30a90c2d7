"""Limits as they are written on a command line."""

from __future__ import annotations

import pytest

from secateur.benchmarks.limits import COUNT_UNITS, ENERGY_UNITS, SIZE_UNITS, Amount, Limits, parse_amount
from secateur.core.errors import BenchError


@pytest.mark.parametrize(
    ("text", "units", "value", "fraction"),
    [
        ("0.5", COUNT_UNITS, 0.5, True),
        ("1", COUNT_UNITS, 1.0, True),
        (".5", SIZE_UNITS, 0.5, True),
        ("600M", COUNT_UNITS, 600e6, False),
        ("1.2 G", COUNT_UNITS, 1.2e9, False),
        ("0.5G", COUNT_UNITS, 0.5e9, False),
        ("650000000", COUNT_UNITS, 650e6, False),
        ("6e8", COUNT_UNITS, 6e8, False),
        ("12MB", SIZE_UNITS, 12e6, False),
        ("8MiB", SIZE_UNITS, 8 * 2**20, False),
        ("512B", SIZE_UNITS, 512, False),
    ],
)
def test_amounts(text: str, units: dict[str, float], value: float, fraction: bool) -> None:
    assert parse_amount(text, units) == Amount(pytest.approx(value), fraction)


@pytest.mark.parametrize("text", ["", "fast", "-1", "0", "0.0G", "12MX", "1,5G", "nan", "1.2.3", "1e400"])
def test_other_amounts_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(BenchError, match=r"such as 600M$"):
        parse_amount(text, COUNT_UNITS)
    with pytest.raises(BenchError, match=r"such as 600MiB$"):
        parse_amount(text, SIZE_UNITS)


def test_energies_are_amounts() -> None:
    assert [parse_amount(text, ENERGY_UNITS).value for text in ("5mJ", "5", "0.2 J", "30uJ")] == [5, 5, 200, 0.03]
    assert parse_amount("0.5", ENERGY_UNITS).fraction
    with pytest.raises(BenchError, match=r"such as 5mJ$"):
        parse_amount("5W", ENERGY_UNITS)


def test_a_fraction_is_of_the_dense_side() -> None:
    assert Amount(0.5, True).of(1000, "macs") == 500
    assert Amount(700, False).of(None, "macs") == 700
    with pytest.raises(BenchError, match="dense side's macs"):
        Amount(0.5, True).of(None, "macs")


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_speedup": 0.0},
        {"min_speedup": float("nan")},
        {"min_relative": -1.0},
        {"min_top1": 101.0},
        {"max_drop": float("inf")},
        {"min_fidelity": 90.0},
        {"max_parity": 0.0},
        {"align": 1},
    ],
)
def test_limits_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(BenchError, match=str(next(iter(wrong)))):
        Limits(**wrong)  # type: ignore[arg-type]  # a dictionary's values are one type to the checker


def test_limits_that_ask_for_nothing() -> None:
    assert Limits(targets=("torch:cpu",)).empty
    assert not Limits(max_drop=0.0).empty
