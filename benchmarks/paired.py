"""Two sides measured in one session, interleaved A B B A, so that what changes with time hits both alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np

from secateur.benchmarks.bootstrap import Interval, ratio_interval
from secateur.benchmarks.latency import Timed
from secateur.benchmarks.warmup import warm_up
from secateur.core.errors import BenchError
from secateur.core.say import Say

LEAST_BLOCKS = 10
"""A B B A blocks that are measured whatever they take, so that there is an interval to speak of."""

Stop = Literal["precise", "seconds", "samples"]


@dataclass(frozen=True)
class PairedSamples:
    """The raw times of both sides in milliseconds; of each side, samples `2 i` and `2 i + 1` are of block `i`.

    `stopped` says what ended the measurement, `settled` whether the warm-up became stable before its cap. `processes`
    are the numbers of samples of each process, empty where there was one.
    """

    a_ms: tuple[float, ...]
    b_ms: tuple[float, ...]
    warmup_rounds: int
    settled: bool
    stopped: Stop
    processes: tuple[int, ...] = ()

    def interval(self, seed: int = 0, level: float = 0.95) -> Interval:
        """How many times as fast `b` is as `a`, with its interval; see `ratio_interval`."""
        return ratio_interval(self.a_ms, self.b_ms, seed, level, processes=self.processes)


@dataclass(frozen=True)
class Samples:
    """The raw times of one side in milliseconds; see `PairedSamples`."""

    ms: tuple[float, ...]
    warmup_rounds: int
    settled: bool
    stopped: Stop


def measure_pair(
    a: Timed,
    b: Timed,
    samples: int = 2000,
    warmup: float = 2.0,
    seconds: float = 10.0,
    half_width: float = 0.01,
    seed: int = 0,
    say: Say = lambda message: None,
    least: int = LEAST_BLOCKS,
) -> PairedSamples:
    """The times of `a` and `b` in blocks A B B A, after a warm-up of at most `warmup` seconds.

    Linear drift cancels in each block: both sides have the same mean time in it. After each change of side one run
    is not timed, so that all timed runs are hot (see `latency`). It ends when the 95 % interval's half-width is
    below `half_width` of the ratio (not before a fifth of `seconds`, so that short models too meet the machine's
    changing moods), at `samples` timed runs of each side, or after `seconds`; never before `least` blocks.
    """
    one: list[float] = []
    two: list[float] = []

    def block() -> None:
        one.append(_timed(a))
        b.run()
        two.append(_timed(b))
        two.append(_timed(b))
        a.run()
        one.append(_timed(a))

    say("warming up")
    with _undisturbed():
        rounds, settled = warm_up([a, b], warmup)
        a.run()
        stopped = _repeat(
            block,
            lambda: ratio_interval(one, two, seed, resamples=500).half_width,
            lambda: f"{np.median(one) / np.median(two):.2f}x after {len(one)} runs of each side",
            samples,
            seconds,
            half_width,
            say,
            least,
        )
    return PairedSamples(_rounded(one), _rounded(two), rounds, settled, stopped)


def measure_one(
    side: Timed,
    samples: int = 2000,
    warmup: float = 2.0,
    seconds: float = 10.0,
    half_width: float = 0.01,
    seed: int = 0,
    say: Say = lambda message: None,
) -> Samples:
    """The times of one side; ends as `measure_pair` does, by the interval of its median."""
    times: list[float] = []

    def block() -> None:
        times.append(_timed(side))
        times.append(_timed(side))

    say("warming up")
    with _undisturbed():
        rounds, settled = warm_up([side], warmup)
        stopped = _repeat(
            block,
            lambda: ratio_interval(times, np.ones(len(times)), seed, resamples=500).half_width,
            lambda: f"{np.median(times):.3f} ms after {len(times)} runs",
            samples,
            seconds,
            half_width,
            say,
        )
    return Samples(_rounded(times), rounds, settled, stopped)


def joined(parts: Sequence[PairedSamples]) -> PairedSamples:
    """What several processes measured, one after the other."""
    if len(parts) == 1:
        return parts[0]
    return PairedSamples(
        tuple(ms for part in parts for ms in part.a_ms),
        tuple(ms for part in parts for ms in part.b_ms),
        sum(part.warmup_rounds for part in parts),
        all(part.settled for part in parts),
        parts[-1].stopped,
        tuple(len(part.a_ms) for part in parts),
    )


def _repeat(
    block: Callable[[], None],
    spread: Callable[[], float],
    state: Callable[[], str],
    samples: int,
    seconds: float,
    half_width: float,
    say: Say,
    least: int = LEAST_BLOCKS,
) -> Stop:
    """Calls `block`, which adds two samples to each side, until one of the limits of `measure_pair` is met."""
    if samples < 2 * least:
        raise BenchError(f"got {samples} samples, but at least {2 * least} of each side are needed")
    start = time.perf_counter()
    done, look = 0, 2 * LEAST_BLOCKS
    while True:
        block()
        done += 1
        passed = time.perf_counter() - start
        if done < least:
            continue
        if 2 * (done + 1) > samples:
            return "samples"
        if passed > seconds:
            return "seconds"
        if done >= look:
            # rare looks: each look at noise is a chance to stop by luck
            look = done + max(1, done // 3)
            say(state())
            if half_width and passed > seconds / 5 and spread() < half_width:
                return "precise"


def _timed(side: Timed) -> float:
    return side.clock.time_ms(side.run)


def _rounded(times: list[float]) -> tuple[float, ...]:
    return tuple(round(ms, 6) for ms in times)  # clocks count nanoseconds


@contextmanager
def _undisturbed() -> Iterator[None]:
    """The block runs without Python's cyclic garbage collector, whose pauses belong to no side."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
