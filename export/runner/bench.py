"""Times of one model, or of two in turns (A B B A), as raw nanoseconds; the ratio of two with its interval.

In each block A B B A both sides have the same mean time, so that linear drift cancels; after each change of side one
run is not timed, so that all timed runs are hot. Blocks are resampled in runs of neighbours (the circular block
bootstrap: Politis and Romano, 1992), and the percentile interval is widened as if by Student's t (Hesterberg, 2015,
section 3.3).
"""

from __future__ import annotations

import gc
import math
import time
from dataclasses import asdict, dataclass
from typing import Any, Callable, Sequence

import numpy as np

from .errors import InferenceError
from .machine import MOST_SECONDS, this_machine
from .modes import Call, nothing

SCHEMA = "secateur.device_bench/1"
LEAST_BLOCKS = 10
"""Blocks that are measured whatever they take."""
WARM_RUNS = 5
Say = Callable[[str], None]


@dataclass(frozen=True)
class Interval:
    """A ratio and the interval that holds the true one at a level of 95 %."""

    ratio: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.ratio:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Times:
    """Raw times in nanoseconds; of two sides, samples `2 i` and `2 i + 1` of each are of block `i`."""

    pruned_ns: tuple[int, ...]
    dense_ns: tuple[int, ...] = ()

    @property
    def speedup(self) -> Interval:
        """How many times faster the pruned side is."""
        return ratio_interval(self.dense_ns, self.pruned_ns)


def measure(
    pruned: Call,
    dense: Call | None = None,
    seconds: float = 5.0,
    samples: int = 2000,
    say: Say = lambda message: None,
    least: int = LEAST_BLOCKS,
    before: Call = nothing,
    runs: int = 1,
) -> Times:
    """The times of one side, or of two in blocks A B B A with the dense one first, after a warm-up.

    It ends after `seconds` or `samples` timed runs of each side, but never before `least` blocks. Before each timed one
    comes `before`, and its time is divided by the `runs` that it makes (see `modes`). Raises `InferenceError`
    for no time or too few samples.
    """
    if not 0 < seconds <= MOST_SECONDS or samples < 2 * least:
        raise InferenceError(
            f"got {seconds} seconds and {samples} samples, but more than 0 and at most {MOST_SECONDS} seconds, and at "
            f"least {2 * least} samples are needed"
        )
    one: list[int] = []
    two: list[int] = []

    def timed(call: Call) -> int:
        before()
        return _timed(call) // runs

    enabled = gc.isenabled()
    gc.collect()
    gc.disable()  # its pauses belong to no side
    try:
        say("warming up")
        _warm_up([pruned] if dense is None else [dense, pruned], seconds / 4)
        start = time.perf_counter()
        done = 0
        while True:
            if dense is not None:
                dense()
                two.append(timed(dense))
                pruned()
            one.append(timed(pruned))
            one.append(timed(pruned))
            if dense is not None:
                dense()
                two.append(timed(dense))
            done += 1
            if done >= least and (time.perf_counter() - start > seconds or 2 * (done + 1) > samples):
                return Times(tuple(one), tuple(two))
    finally:
        if enabled:
            gc.enable()


def describe(times: Times, target: str, batch: int, threads: int | None, runtime_version: str) -> dict[str, Any]:
    """What was measured as JSON: raw samples, percentiles in milliseconds, and the machine."""
    sides = {"pruned": times.pruned_ns, "dense": times.dense_ns}
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "target": target,
        "batch": batch,
        "threads": threads,
        "runtime_version": runtime_version,
        "machine": asdict(this_machine()),
        "samples_ns": {side: list(found) for side, found in sides.items() if found},
        "latency_ms": {side: percentiles_ms(found) for side, found in sides.items() if found},
    }
    if times.dense_ns:
        content["speedup"] = asdict(times.speedup)
    return content


def percentiles_ms(samples_ns: Sequence[int]) -> dict[str, float]:
    """The 50th, 90th and 99th percentiles in milliseconds."""
    found = np.percentile(np.asarray(samples_ns, dtype=np.float64), (50, 90, 99)) / 1e6
    return {name: round(float(value), 6) for name, value in zip(("p50", "p90", "p99"), found)}


def ratio_interval(a: Sequence[float], b: Sequence[float], seed: int = 0, resamples: int = 2000) -> Interval:
    """`median(a) / median(b)` with its bootstrap interval of 95 %; `a` and `b` are `[2 * blocks]` in any one unit."""
    one, two = np.asarray(a, np.float64).reshape(-1, 2), np.asarray(b, np.float64).reshape(-1, 2)
    blocks = len(one)
    if len(two) != blocks or blocks < 5 or min(one.min(), two.min()) <= 0:
        raise InferenceError(
            f"got {2 * blocks} and {2 * len(two)} samples, but as many of each side, 10 or more above 0, are needed"
        )
    length = max(1, round(blocks ** (1 / 3)))
    draws = np.random.default_rng(seed)
    ratios = np.empty(resamples)
    for index in range(resamples):
        starts = draws.integers(blocks, size=(-(-blocks // length), 1))
        chosen = ((starts + np.arange(length)) % blocks).ravel()[:blocks]
        ratios[index] = np.median(one[chosen]) / np.median(two[chosen])
    ratio = float(np.median(one) / np.median(two))
    free = blocks / length
    tail = 0.5 * math.erfc(_t975(free - 1) * math.sqrt(free / (free - 1)) / math.sqrt(2))
    low, high = np.quantile(ratios, (tail, 1 - tail))
    return Interval(ratio, min(float(low), ratio), max(float(high), ratio))


def _t975(freedom: float) -> float:
    """The 97.5 % quantile of Student's t (Abramowitz and Stegun, 26.7.5; within 1 % from 3 degrees of freedom on)."""
    z = 1.959963984540054
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )


def _warm_up(sides: Sequence[Call], seconds: float) -> None:
    """Runs all sides in turn, at least `WARM_RUNS` times and for so many seconds."""
    start, done = time.perf_counter(), 0
    while done < WARM_RUNS or time.perf_counter() - start < seconds:
        for side in sides:
            side()
        done += 1


def _timed(call: Call) -> int:
    start = time.perf_counter_ns()
    call()
    return time.perf_counter_ns() - start
