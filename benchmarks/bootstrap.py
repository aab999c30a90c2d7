"""Ratios of medians over paired samples, with intervals over processes, or over the blocks of a single one.

Two processes of the same two models differ: where their memory lies, which thread runs where. No process can know
that of itself, so where several measured, each gives one ratio, and the interval is Student's t of their logarithms
(Kalibera and Jones, "Rigorous benchmarking in reasonable time", 2013: the highest level of repetition decides). What
others do on a machine only makes runs slower, so a process compares the means of the faster halves: beside other work
they spread a third as much as medians (`benchmarks/results/error_rates.json`), and half of the runs may be disturbed
for either. Of a single process the interval is that of its own samples, and too narrow by what it cannot know.

Samples of a process come in blocks A B B A: of each side, samples `2 i` and `2 i + 1` belong to block `i`. What
disturbs a machine (clock changes, neighbours) lasts longer than a block and hits both sides of it, so whole blocks are
resampled, the same for both sides, and in runs of neighbouring blocks (the circular block bootstrap: Politis and
Romano, 1992), because neighbours are alike. Percentile intervals of few blocks are too narrow; they are widened as if
by Student's t (Hesterberg, "What teachers should know about the bootstrap", 2015, section 3.3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, stdtrit

from secateur.core.errors import BenchError

Array: TypeAlias = NDArray[np.float64]

LEAST_BLOCKS = 5
"""Fewer blocks say nothing about their own spread."""

_CHUNK = 2_000_000  # samples held at once, 16 MB


@dataclass(frozen=True)
class Interval:
    """A ratio and the interval that holds the true one at the level asked for."""

    ratio: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half of the interval's width, as a share of the ratio."""
        return (self.high - self.low) / (2 * self.ratio)

    def __str__(self) -> str:
        return f"{self.ratio:.3f} [{self.low:.3f}, {self.high:.3f}]"


def ratio_interval(
    a: ArrayLike,
    b: ArrayLike,
    seed: int = 0,
    level: float = 0.95,
    resamples: int = 2000,
    processes: Sequence[int] = (),
) -> Interval:
    """How many times as fast `b` is as `a`, with the interval: of several processes the geometric mean of theirs, each
    of the means of the faster halves; of one `median(a) / median(b)`.

    `a` and `b` are `[2 * blocks]` milliseconds in the order of their blocks, those of each process together:
    `processes` are the numbers of samples of each, empty where there was one. Raises `BenchError` for samples that do
    not pair, are fewer than five blocks or are no positive numbers.
    """
    one, two = _blocks(a, b)
    if len(processes) > 1:
        return over_processes([_ratios(one, two, processes)], level)
    draws = _draws(one, two, np.random.default_rng(seed), resamples)
    return _interval(float(np.median(one) / np.median(two)), draws, _independent(len(one)), level)


def relative_interval(
    candidate: tuple[ArrayLike, ArrayLike],
    baseline: tuple[ArrayLike, ArrayLike],
    seed: int = 0,
    level: float = 0.95,
    resamples: int = 2000,
    processes: tuple[Sequence[int], Sequence[int]] = ((), ()),
) -> Interval:
    """The ratio of two ratios of medians, candidate over baseline, each paired in a session of its own.

    The sessions are independent and are resampled separately; where both had several `processes`, the interval is
    Welch's. Below 1 where the candidate's ratio is the smaller.
    """
    (a, b), (c, d) = _blocks(*candidate), _blocks(*baseline)
    if min(map(len, processes)) > 1:
        return over_processes([_ratios(a, b, processes[0]), _ratios(c, d, processes[1])], level)
    rng = np.random.default_rng(seed)
    draws = _draws(a, b, rng, resamples) / _draws(c, d, rng, resamples)
    ratio = (np.median(a) / np.median(b)) / (np.median(c) / np.median(d))
    return _interval(float(ratio), draws, min(_independent(len(a)), _independent(len(c))), level)


def apart_interval(a: ArrayLike, b: ArrayLike, seed: int = 0, level: float = 0.95) -> Interval:
    """`ratio_interval` of sides that were measured one after the other: they are independent, and resampled so."""
    ones = np.ones(np.shape(a))
    return relative_interval((a, ones), (b, ones), seed, level)


def percentile_interval(
    samples: ArrayLike,
    percent: float = 50,
    seed: int = 0,
    level: float = 0.95,
    resamples: int = 2000,
    processes: Sequence[int] = (),
) -> Interval:
    """A percentile of one side's samples with its interval, in the unit of the samples.

    `samples` are `[2 * blocks]` milliseconds in the order of their blocks, and `processes` as of `ratio_interval`,
    which raises the same; of several processes the percentile is that of all samples, since a tail is not seen in the
    few of one, and the interval is the jackknife's, which leaves out one process after the other (Tukey, 1958).
    """
    blocks, _ = _blocks(samples, samples)
    if len(processes) > 1:
        return _jackknife(_split(blocks, processes), percent, level)
    (draws,) = _percentiles((blocks,), percent, np.random.default_rng(seed), resamples)
    return _interval(float(np.percentile(blocks, percent)), draws, _independent(len(blocks)), level)


def percentiles(samples: Sequence[float]) -> tuple[float, float, float]:
    """The 50th, 90th and 99th percentiles."""
    p50, p90, p99 = np.percentile(np.asarray(samples, dtype=np.float64), (50, 90, 99))
    return float(p50), float(p90), float(p99)


def _blocks(a: ArrayLike, b: ArrayLike) -> tuple[Array, Array]:
    """Both sides as `[blocks, 2]`."""
    one, two = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if one.ndim != 1 or one.shape != two.shape or len(one) % 2 or len(one) < 2 * LEAST_BLOCKS:
        raise BenchError(
            f"got samples of shapes {one.shape} and {two.shape}: paired samples are as many on both sides, two for "
            f"each A B B A block, and at least {LEAST_BLOCKS} blocks; measure again for more --seconds"
        )
    if not (np.isfinite(one).all() and np.isfinite(two).all() and (one > 0).all() and (two > 0).all()):
        raise BenchError("the samples hold values that are no positive numbers of milliseconds: measure again")
    return one.reshape(-1, 2), two.reshape(-1, 2)


def faster_half(samples: ArrayLike) -> float:
    """The mean of the faster half of the samples, the middle one with it."""
    found = np.sort(np.asarray(samples, np.float64), axis=None)
    return float(found[: -(-len(found) // 2)].mean())


def process_ratios(a: ArrayLike, b: ArrayLike, processes: Sequence[int]) -> Array:
    """The ratio of the means of the faster halves of each process; see `ratio_interval`."""
    return _ratios(*_blocks(a, b), processes)


def _split(blocks: Array, processes: Sequence[int]) -> list[Array]:
    """The blocks of each process; raises `BenchError` where the numbers of samples are not those that there are."""
    if sum(processes) != blocks.size or any(count < 2 or count % 2 for count in processes):
        raise BenchError(
            f"got {blocks.size} samples of processes that had {list(processes)}: the samples of all processes together "
            "must be those, two or more for each block; measure again"
        )
    return np.split(blocks, np.cumsum(processes)[:-1] // 2)


def _ratios(a: Array, b: Array, processes: Sequence[int]) -> Array:
    """The ratio of the means of the faster halves in each process."""
    pairs = zip(_split(a, processes), _split(b, processes), strict=True)
    return np.array([faster_half(one) / faster_half(two) for one, two in pairs])


def over_processes(groups: Sequence[ArrayLike], level: float = 0.95) -> Interval:
    """The geometric mean of one positive number a process, with Student's t; of two groups the ratio, with Welch's."""
    logs = [np.log(np.asarray(group, np.float64)) for group in groups]
    errors = [float(group.var(ddof=1)) / len(group) for group in logs]
    mean = float(logs[0].mean()) - sum(float(group.mean()) for group in logs[1:])
    if not (total := sum(errors)):
        return Interval(math.exp(mean), math.exp(mean), math.exp(mean))
    freedom = total**2 / sum(error**2 / (len(group) - 1) for error, group in zip(errors, logs, strict=True))
    width = float(stdtrit(freedom, (1 + level) / 2)) * math.sqrt(total)
    return Interval(math.exp(mean), math.exp(mean - width), math.exp(mean + width))


def _jackknife(parts: Sequence[Array], percent: float, level: float) -> Interval:
    """The percentile of all parts together, with Student's t of its logarithm's spread without one or another part."""
    count, found = len(parts), float(np.percentile(np.concatenate(parts), percent))
    without = [np.concatenate([*parts[:place], *parts[place + 1 :]]) for place in range(count)]
    logs = np.log([np.percentile(rest, percent) for rest in without])
    width = float(stdtrit(count - 1, (1 + level) / 2)) * math.sqrt((count - 1) ** 2 / count * logs.var(ddof=1))
    return Interval(found, found * math.exp(-width), found * math.exp(width))


def _run_length(blocks: int) -> int:
    """Neighbouring blocks drawn together: the cube root, the usual order for a bootstrap of a dependent series."""
    return max(1, round(math.cbrt(blocks)))


def _independent(blocks: int) -> float:
    return blocks / _run_length(blocks)


def _draws(a: Array, b: Array, rng: np.random.Generator, resamples: int) -> Array:
    """`[resamples]` ratios of medians of resampled blocks, the same blocks on both sides."""
    over, under = _percentiles((a, b), 50, rng, resamples)
    return over / under


def _percentiles(sides: Sequence[Array], percent: float, rng: np.random.Generator, resamples: int) -> list[Array]:
    """Of each side `[resamples]` percentiles of resampled blocks, the same blocks on all sides."""
    blocks, length = len(sides[0]), _run_length(len(sides[0]))
    runs = -(-blocks // length)
    steps = np.arange(length)
    found = [np.empty(resamples) for _ in sides]
    chunk = max(1, _CHUNK // (2 * blocks))
    for first in range(0, resamples, chunk):
        rows = min(chunk, resamples - first)
        starts = rng.integers(blocks, size=(rows, runs, 1))
        chosen = ((starts + steps) % blocks).reshape(rows, -1)[:, :blocks]
        for side, values in zip(sides, found, strict=True):
            values[first : first + rows] = np.percentile(side[chosen].reshape(rows, -1), percent, axis=1)
    return found


def _interval(ratio: float, draws: Array, independent: float, level: float) -> Interval:
    quantile = stdtrit(independent - 1, (1 + level) / 2) * np.sqrt(independent / (independent - 1))
    tail = float(ndtr(-quantile))
    low, high = np.quantile(draws, (tail, 1 - tail))
    return Interval(ratio, min(float(low), ratio), max(float(high), ratio))
