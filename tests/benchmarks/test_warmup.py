"""Warm-up, on a machine whose time is simulated."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.benchmarks.warmup import WINDOW, warm_up
from tests.benchmarks.machines import Machine, Work


def test_warm_up_waits_until_the_times_are_stable() -> None:
    machine = Machine(lambda now: 1 + 50 * np.exp(-now / 200))
    rounds, settled = warm_up([Work("a", 1.0, machine), Work("b", 1.0, machine)], seconds=60)
    assert settled
    assert rounds > 20
    assert machine.slowdown(machine.now) < 2


def test_warm_up_gives_up_at_its_cap() -> None:
    machine = Machine(lambda now: 1 + now)  # never settles
    rounds, settled = warm_up([Work("a", 1.0, machine)], seconds=0.0)
    assert (rounds, settled) == (3, False)


def test_every_side_runs_in_every_round_and_all_must_be_stable() -> None:
    """The second side becomes faster for twenty rounds, so the first one waits for it."""
    machine = Machine()
    slow = Work("b", 1.0, machine)
    counted = iter(range(10**6))

    def run() -> None:
        machine.order.append("b")
        machine.now += max(1.0, 0.8 ** (next(counted) - 20))

    slow.run = run  # type: ignore[method-assign]
    rounds, settled = warm_up([Work("a", 1.0, machine), slow], seconds=60)
    assert settled
    assert 20 <= rounds <= 20 + 2 * WINDOW
    assert machine.order.count("A") == machine.order.count("B") == rounds


@pytest.mark.parametrize("seconds", [0.0, 1e-9])
def test_three_rounds_run_whatever_they_take(seconds: float) -> None:
    machine = Machine(lambda now: 1 + now)
    assert warm_up([Work("a", 1.0, machine)], seconds) == (3, False)
