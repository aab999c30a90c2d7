"""The noise of a machine, and the limits that it lets a gate hold."""

from __future__ import annotations

import math

import numpy as np
import pytest

from secateur.benchmarks import bootstrap
from secateur.benchmarks.bootstrap import Interval
from secateur.benchmarks.checks import at_least
from secateur.benchmarks.gating.noise import Noise, noises, refuse_too_tight
from secateur.benchmarks.limits import Limits
from secateur.core.errors import BenchError
from tests.benchmarks.samples import over_processes

PLACE = ("onnxruntime:cpu", 1)


def noise(spread: float) -> Noise:
    return Noise(PLACE, Interval(1.0, 0.99, 1.01), spread)


@pytest.mark.parametrize("sessions", [1, 2])
def test_equal_models_pass_the_limit_that_is_held_19_times_of_20(sessions: int) -> None:
    """By simulation of the gate's own interval, Student's or Welch's, from the spread that is known."""
    rng, passed = np.random.default_rng(0), 0
    limit = noise(0.02).holds(5, sessions)
    for _ in range(1000):
        found = bootstrap.over_processes([np.exp(rng.normal(0, 0.02, 5)) for _ in range(sessions)])
        passed += at_least(found, limit) == "pass"
    assert 0.9 <= passed / 1000 <= 0.985


def test_more_processes_hold_more_and_one_holds_nothing() -> None:
    held = [noise(0.02).holds(count) for count in (1, 2, 5, 20)]
    assert held == sorted(held)
    assert held[0] == 0
    count = noise(0.02).needs(0.97)
    assert count is not None
    assert noise(0.02).holds(count) >= 0.97 > noise(0.02).holds(count - 1)
    assert noise(0.5).needs(0.97) is None


def test_noises_are_read_from_a_model_against_itself() -> None:
    rng = np.random.default_rng(1)
    ratios = np.exp(rng.normal(0, 0.03, 6))
    (one,) = noises(over_processes(ratios.tolist()))
    assert one.place == PLACE
    assert one.spread == pytest.approx(np.log(ratios).std(ddof=1))
    assert one.ratio.ratio == pytest.approx(math.exp(np.log(ratios).mean()))


def test_limits_that_noise_would_fail_are_refused_with_what_can_be_held() -> None:
    words = (
        r"min_relative 0\.99 is tighter .* with 5 processes a session \(0\.\d+ at best.*: measure over \d+ processes"
    )
    with pytest.raises(BenchError, match=words):
        refuse_too_tight([noise(0.01)], {PLACE: 5}, Limits(min_relative=0.99), baseline=True)
    with pytest.raises(BenchError, match="measure on a quieter machine, or loosen it"):
        refuse_too_tight([noise(0.4)], {PLACE: 5}, Limits(), baseline=True)
    with pytest.raises(BenchError, match=r"with 1 process a session \(a single process does not know"):
        refuse_too_tight([noise(0.001)], {PLACE: 1}, Limits(), baseline=True)
    refuse_too_tight([noise(0.4)], {PLACE: 5}, Limits(min_speedup=1.0), baseline=False)
    refuse_too_tight([noise(0.002)], {PLACE: 5}, Limits(min_relative=0.99), baseline=True)


def test_what_can_be_held_is_said() -> None:
    where = "onnxruntime:cpu batch 1: one model is 1.000 [0.990, 1.010] times as fast as itself"
    where = f"{where}, processes differ by 1.00%"
    faster = f"with 5 of them a model {1 / noise(0.01).holds(5):.3f} times as fast passes min_speedup 1"
    assert noise(0.01).said(5, baseline=False) == f"{where}; {faster}"
    assert noise(0.01).said(5, baseline=True).startswith(f"{where}; {faster}, and min_relative 0.9")
    assert noise(0.01).said(1, baseline=True).startswith(f"{where}, which a single process does not know")
