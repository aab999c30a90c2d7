"""Intervals of shares of images, and of what a metric lost between two sides."""

from __future__ import annotations

import math

from secateur.benchmarks.keys import TOP1
from secateur.benchmarks.results_file import Compared


def share_interval(percent: float, images: int, level: float = 0.95) -> tuple[float, float]:
    """The interval of a share of so many images, in percent (Wilson, 1927)."""
    from scipy.stats import binomtest

    found = binomtest(round(percent * images / 100), images).proportion_ci(level, method="wilson")
    return 100 * float(found.low), 100 * float(found.high)


def loss_interval(metric: Compared, images: int | None, level: float = 0.95) -> tuple[float, float] | None:
    """The interval of a metric's loss in points; None where the metric is no share of a known number of images.

    It is that of the same images on both sides where they are told apart one by one (see `matched_pairs`). Otherwise
    it is Newcombe's for other images on each side (Statistics in Medicine 17, 1998, no. 10), which is wider.
    """
    if metric.pairs is not None:
        return metric.pairs.loss_interval(level)
    if metric.name != TOP1 or not images:
        return None
    (low, high), (less, more) = (share_interval(value, images, level) for value in (metric.dense, metric.pruned))
    below = math.hypot(metric.dense - low, more - metric.pruned)
    above = math.hypot(high - metric.dense, metric.pruned - less)
    return metric.loss - below, metric.loss + above
