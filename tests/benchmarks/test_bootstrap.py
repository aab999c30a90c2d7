"""The interval of a ratio of times: it covers the truth, respects the pairing, and refuses what does not pair."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from secateur.benchmarks.bootstrap import (
    _draws,
    faster_half,
    percentile_interval,
    percentiles,
    ratio_interval,
    relative_interval,
)
from secateur.core.errors import BenchError
from tests.benchmarks.samples import planted


def covered(trials: int, blocks: int, drift: float, slow: float, level: float = 0.95) -> float:
    """The share of planted measurements whose interval holds the truth."""
    rng = np.random.default_rng(7)
    hits = 0
    for trial in range(trials):
        a, b = planted(1.4, blocks, rng, drift=drift, slow=slow)
        found = ratio_interval(a, b, trial, level, resamples=400)
        hits += found.low <= 1.4 <= found.high
    return hits / trials


@pytest.mark.parametrize("blocks", [15, 60])
def test_the_interval_covers_the_truth_about_as_often_as_it_says(blocks: int) -> None:
    assert 0.92 <= covered(300, blocks, drift=0.0, slow=0.0) <= 0.995


@pytest.mark.parametrize(("drift", "slow"), [(0.3, 0.0), (0.1, 0.2)])
def test_drift_and_a_wandering_machine_do_not_make_it_too_narrow(drift: float, slow: float) -> None:
    assert covered(200, 40, drift, slow) >= 0.93


def test_a_lower_level_covers_less() -> None:
    assert 0.42 <= covered(300, 60, drift=0.0, slow=0.0, level=0.5) <= 0.62


def test_pairing_makes_the_interval_narrow() -> None:
    """Sides that wander together know their ratio much better than each knows its own median."""
    a, b = planted(1.5, 100, np.random.default_rng(3), noise=0.01, slow=0.3)
    apart = np.random.default_rng(4).permutation(b.reshape(-1, 2)).ravel()
    assert ratio_interval(a, b).half_width < 0.7 * ratio_interval(a, apart).half_width


def test_more_blocks_make_it_narrower() -> None:
    rng = np.random.default_rng(5)
    widths = [ratio_interval(*planted(1.5, blocks, rng)).half_width for blocks in (20, 80, 320)]
    assert widths[0] > widths[1] > widths[2]


def test_draws_are_the_medians_of_resampled_blocks() -> None:
    """Against a loop written from the definition of the circular block bootstrap."""
    rng = np.random.default_rng(0)
    a, b = (side.reshape(-1, 2) for side in planted(1.2, 9, rng))
    found = _draws(a, b, np.random.default_rng(1), 50)
    starts = np.random.default_rng(1).integers(9, size=(50, 5, 1))  # runs of two blocks; five of them hold nine
    for row, ratio in enumerate(found):
        chosen = [(int(start) + step) % 9 for start in starts[row, :, 0] for step in range(2)][:9]
        over = np.median([a[place, k] for place in chosen for k in range(2)])
        under = np.median([b[place, k] for place in chosen for k in range(2)])
        assert ratio == pytest.approx(over / under)


@settings(max_examples=30, deadline=None)
@given(blocks=st.integers(5, 30), seed=st.integers(0, 1000), scale=st.floats(0.01, 100))
def test_units_and_swapped_sides(blocks: int, seed: int, scale: float) -> None:
    a, b = planted(1.5, blocks, np.random.default_rng(seed))
    found = ratio_interval(a, b, seed, resamples=200)
    assert found.low <= found.ratio <= found.high
    assert found.ratio == pytest.approx(np.median(a) / np.median(b))
    scaled = ratio_interval(scale * a, scale * b, seed, resamples=200)
    assert (scaled.low, scaled.high) == pytest.approx((found.low, found.high))
    swapped = ratio_interval(b, a, seed, resamples=200)
    assert swapped.ratio == pytest.approx(1 / found.ratio)
    assert ratio_interval(a, b, seed, resamples=200) == found


def test_the_ratio_of_two_sessions() -> None:
    rng = np.random.default_rng(11)
    hits = 0
    for trial in range(150):
        found = relative_interval(planted(1.2, 40, rng), planted(1.5, 40, rng), trial, resamples=400)
        hits += found.low <= 0.8 <= found.high
    assert hits >= 0.92 * 150


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.ones(8), np.ones(8)),
        (np.ones(21), np.ones(21)),
        (np.ones(20), np.ones(22)),
        (np.ones((10, 2)), np.ones((10, 2))),
        (np.full(20, np.nan), np.ones(20)),
        (np.ones(20), np.zeros(20)),
    ],
)
def test_samples_that_do_not_pair_are_refused(a: np.ndarray, b: np.ndarray) -> None:
    with pytest.raises(BenchError, match="measure again"):
        ratio_interval(a, b)


def test_percentiles() -> None:
    assert percentiles([float(value) for value in range(101)]) == (50.0, 90.0, 99.0)


Sides: TypeAlias = tuple[list[float], list[float]]


def over_processes(ratio: float, count: int, rng: np.random.Generator, spread: float) -> Sides:
    """Both sides of some processes, each with a ratio of its own around the true one, ten blocks each."""
    sides: Sides = [], []
    for _ in range(count):
        a, b = planted(ratio * math.exp(rng.normal(0, spread)), 10, rng, noise=0.005)
        sides[0].extend(a)
        sides[1].extend(b)
    return sides


def logs_of(a: list[float], b: list[float]) -> list[float]:
    """The logarithm of the ratio in each process."""
    halves = [[np.mean(sorted(side[i : i + 20])[:10]) for i in range(0, len(side), 20)] for side in (a, b)]
    return [math.log(one / two) for one, two in zip(*halves, strict=True)]


def test_what_differs_between_processes_is_in_the_interval() -> None:
    """A single process takes what is its own for the truth; several tell, as often as they say."""
    rng, hits, alone = np.random.default_rng(2), 0, 0
    for trial in range(200):
        a, b = over_processes(1.4, 5, rng, spread=0.02)
        found = ratio_interval(a, b, trial, processes=[20] * 5)
        hits += found.low <= 1.4 <= found.high
        single = ratio_interval(a[:20], b[:20], trial, resamples=200)
        alone += single.low <= 1.4 <= single.high
    assert 0.91 <= hits / 200 <= 0.985
    assert alone / 200 < 0.6


def test_the_interval_over_processes_is_students_t() -> None:
    a, b = over_processes(1.4, 4, np.random.default_rng(3), spread=0.02)
    logs = logs_of(a, b)
    wanted = stats.t.interval(0.9, 3, loc=np.mean(logs), scale=stats.sem(logs))
    found = ratio_interval(a, b, level=0.9, processes=[20] * 4)
    assert np.log([found.low, found.ratio, found.high]) == pytest.approx([wanted[0], np.mean(logs), wanted[1]])


def test_a_percentile_over_processes_is_that_of_all_with_the_jackknifes_interval() -> None:
    a = [float(value) for value in np.exp(np.random.default_rng(5).normal(size=80))]
    without = [np.log(np.percentile(a[:start] + a[start + 20 :], 90)) for start in range(0, 80, 20)]
    error = math.sqrt(3 / 4 * sum((one - np.mean(without)) ** 2 for one in without))
    middle = np.log(np.percentile(a, 90))
    found = percentile_interval(a, 90, processes=[20] * 4)
    wanted = stats.t.interval(0.95, 3, loc=middle, scale=error)
    assert np.log([found.low, found.ratio, found.high]) == pytest.approx([wanted[0], middle, wanted[1]])


def test_the_tail_of_many_short_processes_is_not_taken_for_shorter_than_it_is() -> None:
    rng = np.random.default_rng(6)

    def times(count: int) -> NDArray[np.float64]:
        return np.where(rng.random(count) < 0.03, rng.uniform(1, 5, count), 1.0) * np.exp(0.03 * rng.normal(size=count))

    true = float(np.percentile(times(500_000), 99))
    below = [percentile_interval(times(500), 99, processes=[50] * 10).high < true for _ in range(200)]
    assert sum(below) <= 24  # 6 % are; of the mean of each process's own, 9 of 10


def test_two_sessions_of_several_processes_are_compared_by_welchs_t() -> None:
    rng = np.random.default_rng(4)
    one, two = over_processes(1.5, 6, rng, spread=0.01), over_processes(1.2, 4, rng, spread=0.03)
    wanted = stats.ttest_ind(logs_of(*one), logs_of(*two), equal_var=False).confidence_interval(0.95)
    found = relative_interval(one, two, processes=([20] * 6, [20] * 4))
    assert np.log([found.low, found.high]) == pytest.approx([wanted.low, wanted.high])


def test_the_faster_half_is_not_moved_by_what_disturbs_the_other() -> None:
    quiet = [1.0, 1.2, 1.1, 1.3, 1.4]
    assert faster_half(quiet) == pytest.approx((1.0 + 1.1 + 1.2) / 3)
    assert faster_half([1.0, 1.2, 1.1, 9.0, 50.0]) == faster_half(quiet)


@pytest.mark.parametrize("processes", [[20, 10], [15, 25], [40, 0], [20, 20, 20]])
def test_processes_that_are_not_those_of_the_samples_are_refused(processes: list[int]) -> None:
    a, b = planted(1.4, 20, np.random.default_rng(0))
    with pytest.raises(BenchError, match="measure again"):
        ratio_interval(a, b, processes=processes)
