"""What a gate says of planted slowdowns, from the processes that measured them: how often it is wrong or undecided."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy import stats

from secateur.benchmarks.bootstrap import Interval, over_processes
from secateur.benchmarks.checks import Outcome, at_least

LIMITS = (0.99, 0.98, 0.97, 0.95, 0.93)
"""Shares of the reference's speed that a candidate must keep."""
WITNESSES = ("median", "half", "processor")
"""What a process says of each side; see `session.summary`."""


@dataclass(frozen=True)
class Rate:
    """How often a gate failed, passed and stayed undecided in `tries`, with the 95 % intervals of the first two."""

    tries: int
    failed: int
    passed: int
    failed_interval: tuple[float, float]
    passed_interval: tuple[float, float]

    @property
    def undecided(self) -> int:
        """Tries that were inconclusive."""
        return self.tries - self.failed - self.passed


def groups(rows: Sequence[Mapping[str, Any]], processes: int) -> list[Sequence[Mapping[str, Any]]]:
    """The rows in groups of neighbours, as one gate would have measured them; a rest is left out."""
    return [rows[start : start + processes] for start in range(0, len(rows) - processes + 1, processes)]


def intervals(rows: Sequence[Mapping[str, Any]], side: str, processes: int, witness: str = "median") -> list[Interval]:
    """The speed of a side as a share of the reference's, once for each group; of one process, the bootstrap's."""
    if processes == 1:
        return [Interval(share(row, side), row[f"{side} low"], row[f"{side} high"]) for row in rows]
    return [over_processes([[share(row, side, witness) for row in group]]) for group in groups(rows, processes)]


def share(row: Mapping[str, Any], side: str, witness: str = "median") -> float:
    """The speed of a side as a share of the reference's in one process."""
    return float(row[f"reference {witness}"] / row[f"{side} {witness}"])


def rate(found: Sequence[Interval], limit: float) -> Rate:
    """What a gate with this limit says of them."""
    said: Counter[Outcome] = Counter(at_least(interval, limit) for interval in found)
    tries = len(found)
    return Rate(tries, said["fail"], said["pass"], _share(said["fail"], tries), _share(said["pass"], tries))


def _share(count: int, tries: int) -> tuple[float, float]:
    """The Clopper-Pearson interval of a share."""
    found = stats.binomtest(count, tries).proportion_ci()
    return round(float(found.low), 4), round(float(found.high), 4)
