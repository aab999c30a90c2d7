"""The gate's limits on milliseconds: of the candidate itself, and of what the machine is to both sides.

Milliseconds of two sessions differ by the machine's state. A limit on them is for a device that is always in the same
one; for all others the dense side tells how much slower a session was than the baseline's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from secateur.benchmarks.bootstrap import percentile_interval, relative_interval
from secateur.benchmarks.checks import Check, Place, at_most, interval_check, place_name
from secateur.benchmarks.limits import DRIFT, Limits
from secateur.benchmarks.results_file import BenchResult, Latency

BEYOND = 5
"""Samples that must lie beyond a percentile for its interval to mean anything: 500 in all for the 99th."""


def latency_checks(
    candidate: BenchResult, place: Place, key: str, limits: Limits, seed: int, level: float
) -> Iterator[Check]:
    """The pruned side's median, 90th and 99th percentile against the limits on them, in milliseconds."""
    found = candidate.pruned.latency_ms[key]
    for name, percent, limit in (
        ("latency", 50, limits.max_latency),
        ("p90", 90, limits.max_p90),
        ("p99", 99, limits.max_p99),
    ):
        if limit is not None:
            yield _percentile_check(name, found, percent, limit, place, seed, level)


def drift_check(
    candidate: BenchResult,
    baseline: BenchResult,
    place: Place,
    keys: tuple[str, str],
    limits: Limits,
    seed: int,
    level: float,
) -> Check:
    """How many times as long the dense side takes as at the baseline.

    Both sides slower alike leave the speedup as it was: a busy or throttled machine, but also a runtime that fell back.
    Which of them it is nobody can tell from here, so more than `limits.DRIFT` is inconclusive; it fails where the limit
    was asked for.
    """
    key, other = keys
    after, before = candidate.dense.latency_ms[key], baseline.dense.latency_ms[other]
    ones = [[1.0] * len(one.samples) for one in (after, before)]
    parts = after.processes, before.processes
    found = relative_interval((after.samples, ones[0]), (before.samples, ones[1]), seed, level, processes=parts)
    limit = DRIFT if limits.max_drift is None else limits.max_drift
    outcome = at_most(found, limit)
    if limits.max_drift is None and outcome == "fail":
        outcome = "inconclusive"
    sentence = f"{place_name(place)}: the dense side takes {found} times as long as at the baseline, at most {limit:g}"
    return interval_check("drift", found, limit, outcome, f"{sentence} is allowed", place)


def _percentile_check(
    name: str, latency: Latency, percent: int, limit: float, place: Place, seed: int, level: float
) -> Check:
    found = percentile_interval(latency.samples, percent, seed, level, processes=latency.processes)
    count = len(latency.samples)
    what = "median" if percent == 50 else f"{percent}th percentile"
    sentence = f"{place_name(place)}: the {what} is {found} ms, at most {limit:g} ms are allowed"
    check = interval_check(name, found, limit, at_most(found, limit), sentence, place)
    needed = round(BEYOND * 100 / (100 - percent))
    if check.outcome == "pass" and count < needed:
        few = f"{sentence}, but {count} samples are too few for it ({needed} are needed)"
        return replace(check, outcome="inconclusive", sentence=few)
    return check
