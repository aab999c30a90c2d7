"""A machine's own noise: one model measured against itself, and which limits that lets a gate hold.

Each process gives a ratio that would be 1 without noise. From the spread of their logarithms follows how far two
measurements of one model are apart, and so the limit that such a pair still passes, 19 times of 20, by an interval of
95 % (Student's t for both; Kalibera and Jones, 2013).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from secateur.benchmarks.bootstrap import Interval, over_processes, process_ratios
from secateur.benchmarks.checks import Place, place_name
from secateur.benchmarks.keys import split_key
from secateur.benchmarks.limits import RELATIVE, Limits
from secateur.benchmarks.results_file import BenchResult
from secateur.benchmarks.spec import MOST_PROCESSES
from secateur.core.errors import BenchError

PROCESSES = 12
"""Processes that measure a noise: the spread of twelve is known to about a fifth."""

PASSES = 0.95
"""How often equal models must pass for a limit to count as held."""


@dataclass(frozen=True)
class Noise:
    """One model against itself on a place: the ratio with its interval, and the spread of its logarithm by process."""

    place: Place
    ratio: Interval
    spread: float

    def holds(self, processes: int, sessions: int = 1) -> float:
        """The limit nearest to 1 that equal models pass where `processes` measure in each of `sessions`; 0 for one."""
        if processes < 2:
            return 0.0
        freedom = sessions * (processes - 1)
        quantiles = stats.t.ppf(0.975, freedom) + stats.t.ppf(PASSES, freedom)
        return math.exp(-float(quantiles) * self.spread * math.sqrt(sessions / processes))

    def needs(self, limit: float, sessions: int = 1) -> int | None:
        """The fewest processes that hold a limit; None where no number that can be asked for does."""
        return next((count for count in range(2, MOST_PROCESSES + 1) if self.holds(count, sessions) >= limit), None)

    def said(self, processes: int, baseline: bool) -> str:
        """What it lets a gate hold, in a sentence."""
        where = f"{place_name(self.place)}: one model is {self.ratio} times as fast as itself"
        spread = f"processes differ by {self.spread:.2%}"
        if processes < 2:
            return f"{where}, {spread}, which a single process does not know: measure over several (bench.processes)"
        held = f"a model {1 / self.holds(processes):.3f} times as fast passes min_speedup 1"
        if baseline:
            held += f", and min_relative {self.holds(processes, 2):.3f} can be held"
        return f"{where}, {spread}; with {processes} of them {held}"


def noises(result: BenchResult) -> list[Noise]:
    """The noise on each place of a result whose two sides are one model, measured over several processes."""
    found = []
    for key in result.speedup:
        dense, other = result.dense.latency_ms[key], result.pruned.latency_ms[key]
        ratios = process_ratios(dense.samples, other.samples, dense.processes)
        place = split_key(key)[0], dense.batch
        found.append(Noise(place, over_processes([ratios]), float(np.log(ratios).std(ddof=1))))
    return found


def refuse_too_tight(found: Sequence[Noise], processes: Mapping[Place, int], limits: Limits, baseline: bool) -> None:
    """Raises `BenchError` where equal models would not pass: a gate that fails by chance says nothing.

    `processes` are those of the candidate. Only `min_relative` says how near to equal a candidate must stay; a
    `min_speedup` is judged by the candidate's own interval.
    """
    limit = limits.min_relative or RELATIVE
    for noise in found if baseline else ():
        count = processes[noise.place]
        if noise.holds(count, 2) >= limit:
            continue
        more = noise.needs(limit, 2)
        advice = f"measure over {more} processes (bench.processes)" if more else "measure on a quieter machine"
        raise BenchError(
            f"{place_name(noise.place)}: min_relative {limit:g} is tighter than this machine holds with {count} "
            f"{'process' if count == 1 else 'processes'} a session ({_best(noise, count)}): {advice}, or loosen it"
        )


def _best(noise: Noise, count: int) -> str:
    if count == 1:
        return "a single process does not know what another one would say"
    return f"{noise.holds(count, 2):.3f} at best, since processes differ by {noise.spread:.2%}"
