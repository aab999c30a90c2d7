"""What a gate says of planted slowdowns, from planted processes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from secateur_studies.error_rates.planted import SLOWER
from secateur_studies.error_rates.rates import groups, intervals, rate, share, table_of
from secateur_studies.error_rates.table import as_table

from secateur.benchmarks.bootstrap import Interval


def rows(count: int, spread: float) -> list[dict[str, float]]:
    """Processes whose ratios scatter around what is planted."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        same, slower = np.exp(rng.normal(0, spread, 2))
        ms = {"reference median": 1.0, "same median": same, "10 % slower median": 1.1 * slower}
        found.append({**ms, "same low": 0.97, "same high": 1.03})
    return found


def test_groups_are_neighbours_and_leave_the_rest() -> None:
    numbered = [{"n": index} for index in range(11)]
    assert [[row["n"] for row in group] for group in groups(numbered, 3)] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


def test_rates_are_those_of_students_t() -> None:
    """Two equal models at a limit of 1: half of 5 % fail. A slowdown of 10 % fails a limit of 5 % nearly always."""
    found = rows(5000, spread=0.01)
    equal = rate(intervals(found, "same", 5), 1.0)
    assert equal.tries == 1000
    assert 0.015 < equal.failed / 1000 < 0.037
    low, high = equal.failed_interval
    assert low < 0.025 < high
    slower = rate(intervals(found, "10 % slower", 5), 0.95)
    assert (slower.passed, slower.failed + slower.undecided) == (0, 1000)
    assert slower.failed > 950


def test_one_process_is_judged_by_its_own_interval() -> None:
    (found,) = intervals(rows(1, 0.01), "same", 1)
    assert (found.low, found.high) == (0.97, 1.03)
    assert found.ratio == share(rows(1, 0.01)[0], "same")


def test_outcomes_are_counted() -> None:
    found = rate([Interval(1, 0.99, 1.01), Interval(1, 0.9, 1.1), Interval(0.8, 0.7, 0.9), Interval(1, 0.95, 2)], 0.95)
    assert (found.tries, found.passed, found.failed, found.undecided) == (4, 2, 1, 1)
    assert found.failed_interval[0] < 0.25 < found.failed_interval[1] < 1
    assert math.isclose(rate([Interval(1, 1, 1)] * 400, 0.9).failed_interval[1], 0.0092, rel_tol=0.02)


def test_another_witness_may_be_asked() -> None:
    found = [{"reference processor": 2.0, "same processor": 1.0 + 0.01 * index} for index in range(4)]
    (interval,) = intervals(found, "same", 4, "processor")
    assert interval.ratio == pytest.approx(2 / math.prod(1 + 0.01 * i for i in range(4)) ** 0.25)


def test_the_table_counts_what_was_wrong() -> None:
    """Twenty processes: the slower model is clearly slower, and one in four processes by itself says so wrongly."""
    measured = []
    for index in range(20):
        low = 1.01 if index % 4 else 0.5
        row: dict[str, Any] = {"load": "none", "reference median": 2.0, "reference half": 2.0}
        for side, percent in (("same", 0), *((f"{slower} % slower", slower) for slower in SLOWER)):
            ms = 2.0 * (1 + percent / 100) * (1 + 0.001 * (index % 3))
            row.update({f"{side} median": ms, f"{side} half": ms, f"{side} low": low, f"{side} high": 1.02})
        measured.append(row)
    head, rows = table_of({"found": {"5 ms, quiet": as_table(measured)}})
    assert [word.partition(",")[0] for word in head[4:]] == [
        *("equal", "3 % slower", "5 % slower", "equal", "10 % slower", "20 % slower")
    ]
    assert head[4:6] == ("equal, limit 0.98: failed / undecided", "3 % slower, limit 0.98: passed / undecided")
    alone, *_, eight = rows
    assert alone[:4] == ("5 ms, quiet", "1 process, medians", "0.1", "20")
    assert alone[5].startswith("75.0% [50.9%, 91.3%] / 25.0%")
    assert eight[1:4] == ("8 processes, faster halves", "1.2", "2")
    assert [cell.split(" ")[0] for cell in eight[4:]] == ["0.0%"] * 6
    assert all(cell.endswith("/ 0.0%") for cell in eight[4:])
