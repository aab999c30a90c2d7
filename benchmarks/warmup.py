"""Warm-up: runs until the times no longer change, or until a cap."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from secateur.benchmarks.latency import Timed

WINDOW = 5
"""Rounds that are compared with as many before them."""

TOLERANCE = 0.05
"""The largest relative change between two windows that counts as stable."""


def warm_up(sides: Sequence[Timed], seconds: float) -> tuple[int, bool]:
    """Runs all sides in turn; returns the rounds, and whether every side became stable before `seconds` were over.

    First runs allocate, compile and choose algorithms, and processors raise their clocks: those times belong to no
    distribution. At least three rounds are run, whatever they take.
    """
    times: list[list[float]] = [[] for _ in sides]
    start = time.perf_counter()
    rounds = 0
    while True:
        for side, taken in zip(sides, times, strict=True):
            taken.append(side.clock.time_ms(side.run))
        rounds += 1
        if all(_stable(taken) for taken in times):
            return rounds, True
        if rounds >= 3 and time.perf_counter() - start > seconds:
            return rounds, False


def _stable(times: Sequence[float]) -> bool:
    if len(times) < 2 * WINDOW:
        return False
    before = statistics.median(times[-2 * WINDOW : -WINDOW])
    after = statistics.median(times[-WINDOW:])
    return abs(after - before) <= TOLERANCE * before
