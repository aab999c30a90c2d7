"""Change points: where a level was planted to change, and nowhere in noise."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from secateur.benchmarks.history.change_points import Change, changes
from secateur.benchmarks.history.lines import Line, lines_of
from secateur.core.errors import MissingPackageError
from tests.benchmarks.history.entries import entries, stepped

pytest.importorskip("ruptures", reason="ruptures is not installed")


def line(values: list[float], measure: str = "pruned p50") -> Line:
    (found,) = lines_of(entries(values, measure))
    return found


def test_a_step_is_found_where_it_is() -> None:
    (found,) = changes(line(stepped(1.3)))
    assert (found.place, found.commit, found.better) == (12, f"{12:02x}{12:038x}", False)
    assert found.share == pytest.approx(0.3, abs=0.02)
    assert str(Change(12, "abcdef1234", 0.3, False)) == "abcdef1 +30.0% (worse)"
    assert [one.better for one in changes(line(stepped(0.8)))] == [True]
    assert [one.better for one in changes(line(stepped(0.8), "speedup"))] == [False]


def test_two_steps_are_found_and_an_outlier_is_none() -> None:
    values = [*stepped(1.3), *stepped(0.7, 6, 6)[6:]]
    assert [one.place for one in changes(line(values))] == [12, 20]
    once = stepped(1.0)
    once[9] *= 1.5
    assert changes(line(once)) == []


def test_what_is_counted_changes_without_noise() -> None:
    assert [one.place for one in changes(line([480.0] * 5 + [481.0] * 3))] == [5]
    assert changes(line([480.0] * 8)) == []
    assert [one.place for one in changes(line([10**20] * 5 + [10**19] * 3))] == [5]


def test_noise_has_few_changes() -> None:
    rng = np.random.default_rng(0)
    lines = [line(list(10 * np.exp(0.03 * rng.normal(size=size)))) for size in (6, 10, 20, 50) for _ in range(50)]
    assert sum(bool(changes(one)) for one in lines) <= 8  # of 200, where 1 % are expected


def test_values_that_jump_between_two_levels_have_few_changes() -> None:
    """Their median difference is zero, which is not their noise."""
    rng = np.random.default_rng(0)
    lines = [line([13.0 if high else 10.0 for high in rng.random(50) < 0.2]) for _ in range(30)]
    assert sum(bool(changes(one)) for one in lines) <= 2


def test_a_step_within_the_intervals_of_the_measurements_is_none() -> None:
    plain = line([10.0, 10.01, 10.0, 10.02, 11.0, 11.01, 11.0, 11.02])
    assert len(changes(plain)) == 1
    wide = tuple(replace(one, low=0.9 * one.value, high=1.1 * one.value) for one in plain.values)
    assert changes(replace(plain, values=wide)) == []


def test_few_values_and_zeros_have_no_change() -> None:
    assert changes(line([1.0, 1.0, 9.0, 9.0, 9.0])) == []
    assert changes(line([0.0] * 4 + [9.0] * 4)) == []


def test_without_the_library_the_advice_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ruptures", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'secateur\[history\]'"):
        changes(line(stepped()))
