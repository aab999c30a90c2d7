"""Interleaved measurement, on a machine whose time is simulated."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from secateur.benchmarks.paired import measure_one, measure_pair
from secateur.core.errors import BenchError
from tests.benchmarks.machines import Machine, Work


def test_the_order_is_abba_and_every_timed_run_follows_one_of_its_own_side() -> None:
    machine = Machine()
    found = measure_pair(Work("a", 2.0, machine), Work("b", 1.0, machine), samples=24, seconds=60)
    measured = machine.order[2 * found.warmup_rounds :]
    assert "".join(measured) == "a" + 12 * "AbBBaA"
    assert len(found.a_ms) == len(found.b_ms) == 24
    assert found.stopped == "samples"
    assert found.settled
    assert found.interval().ratio == pytest.approx(2.0)


def test_linear_drift_cancels() -> None:
    machine = Machine(lambda now: 1 + now / 1000)  # slower and slower, by a quarter over the measurement
    a, b = Work("a", 1.5, machine), Work("b", 1.0, machine)
    found = measure_pair(a, b, samples=60, seconds=60, warmup=0.0)
    assert max(found.a_ms) > 1.2 * min(found.a_ms)
    assert found.interval().ratio == pytest.approx(1.5, rel=0.01)
    start = machine.now
    blocks = [[machine.time_ms(side.run) for _ in range(60)] for side in (a, b)]  # all of A, then all of B
    assert machine.now > start
    assert np.median(blocks[0]) / np.median(blocks[1]) < 0.95 * 1.5


def test_it_stops_when_it_knows_enough() -> None:
    machine = Machine()
    precise = measure_pair(Work("a", 2.0, machine), Work("b", 1.0, machine), samples=10**7, seconds=0.1)
    assert precise.stopped == "precise"
    assert len(precise.a_ms) < 10**7


def test_it_stops_at_the_time_cap_and_not_before_ten_blocks() -> None:
    rng = np.random.default_rng(0)
    machine = Machine(lambda now: float(np.exp(rng.normal())))
    found = measure_pair(Work("a", 2.0, machine), Work("b", 1.0, machine), samples=100_000, seconds=1e-6, warmup=0.0)
    assert found.stopped == "seconds"
    assert len(found.a_ms) == 20


def test_one_side_alone() -> None:
    machine = Machine()
    found = measure_one(Work("a", 3.0, machine), samples=30, seconds=60)
    assert found.ms == (3.0,) * 30


def test_too_few_samples_are_refused() -> None:
    machine = Machine()
    with pytest.raises(BenchError, match="at least 20"):
        measure_pair(Work("a", 1.0, machine), Work("b", 1.0, machine), samples=10)


def test_the_garbage_collector_is_off_while_measuring_and_back_afterwards() -> None:
    machine = Machine()
    states = []

    class Watching(Work):
        def run(self) -> None:
            states.append(gc.isenabled())
            super().run()

    measure_one(Watching("a", 1.0, machine), samples=20)
    assert not any(states)
    assert gc.isenabled()


def test_progress_is_told() -> None:
    machine = Machine()
    told: list[str] = []
    measure_pair(Work("a", 2.0, machine), Work("b", 1.0, machine), samples=200, seconds=60, say=told.append)
    assert told[0] == "warming up"
    assert len(told) > 1
    assert all(message.startswith("2.00x") for message in told[1:])


# --- warm-up ---
