"""How far a tensor's values reach, by four rules, from a histogram of their magnitudes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Rule = Literal["minmax", "entropy", "percentile", "mse"]
RULES: tuple[Rule, ...] = get_args(Rule)

BINS = 2048
LEVELS = 128
"""The magnitudes of a symmetric int8 number: 0 to 127."""
PERCENTILE = 99.99
Counts = NDArray[np.float64]
Grid = Callable[[NDArray[Any], Any], NDArray[Any]]
"""Rounds values to the numbers of a format that reaches as far as the second argument says."""


@dataclass
class Histogram:
    """How often the magnitudes of a stream of arrays fall into each of `BINS` equal bins from 0 to `limit`.

    Where larger values come, the limit doubles as often as needed and neighbouring bins are merged. The largest
    magnitude is kept exactly, and so is the `lowest` value where it is below zero.
    """

    counts: Counts = field(default_factory=lambda: np.zeros(BINS))
    limit: float = 0.0
    largest: float = 0.0
    lowest: float = 0.0

    def add(self, values: NDArray[np.float32]) -> None:
        """Counts the values of one more array."""
        magnitudes = np.abs(values.ravel())
        largest = float(magnitudes.max(initial=0.0))
        if largest > 0 and self.limit == 0:
            self.counts[0], self.limit = self.counts.sum(), largest
        while largest > self.limit:
            self.counts = np.concatenate([self.counts.reshape(-1, 2).sum(1), np.zeros(BINS // 2)])
            self.limit *= 2
        self.largest = max(self.largest, largest)
        self.lowest = min(self.lowest, float(values.min(initial=0.0)))
        if self.limit == 0:
            self.counts[0] += magnitudes.size
        else:
            self.counts += np.histogram(magnitudes, BINS, (0.0, self.limit))[0]

    @property
    def centres(self) -> NDArray[np.float64]:
        """The middle of each bin."""
        return np.asarray((np.arange(BINS) + 0.5) * self.limit / BINS)


def reach(histogram: Histogram, rule: Rule, grid: Grid) -> float:
    """How far the format should reach for these values: what lies beyond is cut off.

    `minmax`: to the largest. `percentile`: to the one that `PERCENTILE` of them are below. `mse`: where the mean
    squared error of rounding and cutting is least. `entropy`: where the distribution in int8 differs least from the
    true one by the Kullback-Leibler divergence (Migacz, 8-bit inference with TensorRT, GTC 2017).
    """
    if rule == "minmax" or histogram.largest == 0:
        return histogram.largest
    rules: Mapping[Rule, Callable[[], float]] = {
        "percentile": lambda: _percentile(histogram),
        "mse": lambda: _least_error(histogram, grid),
        "entropy": lambda: _least_divergence(histogram),
    }
    return min(rules[rule](), histogram.largest)


def _percentile(histogram: Histogram) -> float:
    share = np.cumsum(histogram.counts) / histogram.counts.sum()
    return float(np.searchsorted(share, PERCENTILE / 100) + 1) * histogram.limit / BINS


def _least_error(histogram: Histogram, grid: Grid) -> float:
    centres = histogram.centres
    reaches = histogram.largest * np.linspace(0.2, 1.0, 81)
    errors = [float(histogram.counts @ (centres - grid(centres, far)) ** 2) for far in reaches]
    return float(reaches[int(np.argmin(errors))])


def _least_divergence(histogram: Histogram) -> float:
    counts = histogram.counts.copy()
    counts[0] = counts[1]  # zero is a number of the format: what a ReLU has cut costs nothing, however much it is
    ends = np.arange(LEVELS, BINS + 1, 8)[::-1]  # the farthest first: of equals, that one cuts least
    least = int(np.argmin([_divergence(counts, int(end)) for end in ends]))
    return float(ends[least]) * histogram.limit / BINS


def _divergence(counts: Counts, end: int) -> float:
    """The Kullback-Leibler divergence between the first `end` bins, the rest cut off, and their `LEVELS` levels."""
    kept = counts[:end]
    true = kept.copy()
    true[-1] += counts[end:].sum()
    starts = (np.arange(LEVELS) * end) // LEVELS
    filled = np.add.reduceat((kept > 0).astype(np.float64), starts)
    level = np.add.reduceat(kept, starts) / np.maximum(filled, 1)
    coarse = np.repeat(level, np.diff(np.append(starts, end))) * (kept > 0)
    return _relative_entropy(_smooth(true), _smooth(coarse))


def _smooth(counts: Counts) -> Counts:
    """A distribution without zeros: those of `counts` get a little of the others' mass."""
    zero = counts == 0
    if zero.all():
        return np.full(counts.size, 1 / counts.size)
    share = counts / counts.sum()
    little = 1e-4 / counts.size
    taken = little * zero.sum() / (~zero).sum()
    return np.maximum(np.where(zero, little, share - taken), 1e-12)


def _relative_entropy(true: Counts, other: Counts) -> float:
    return float((true * np.log(true / other)).sum())
