"""What a gate says of planted slowdowns, from the processes that measured them: how often it is wrong or undecided."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats
from secateur_studies.error_rates.table import BLOCKS, rows_of

from secateur.benchmarks.bootstrap import Interval, over_processes
from secateur.benchmarks.checks import Outcome, at_least

DESIGNS: Mapping[str, tuple[int, str]] = {
    "1 process, medians": (1, "median"),
    "5 processes, medians": (5, "median"),
    "5 processes, faster halves": (5, "half"),
    "8 processes, faster halves": (8, "half"),
}
"""Ways to judge a pair: over how many processes, and what each says of a side (see `session.summary`)."""
CASES: tuple[tuple[str, float], ...] = (
    ("same", 0.98),
    ("3 % slower", 0.98),
    ("5 % slower", 0.98),
    ("same", 0.95),
    ("10 % slower", 0.95),
    ("20 % slower", 0.95),
)
"""What is judged at which limit, the share of the reference's speed that must be kept: an equal model is to pass, a
slower one to fail."""


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


def table_of(content: Mapping[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Head and rows: by model and machine, and by design, how often the gate was wrong and how often undecided."""
    head = ["model, machine", "judged by", "seconds of runs", "pairs"]
    for side, limit in CASES:
        wrong = "failed" if side == "same" else "passed"
        name = "equal" if side == "same" else side
        head.append(f"{name}, limit {limit:g}: {wrong} / undecided")
    rows = []
    for place, table in content["found"].items():
        measured = rows_of(table)
        ms = float(np.median([row["reference median"] for row in measured]))
        for name, (processes, witness) in DESIGNS.items():
            cells = [_cell(rate(intervals(measured, side, processes, witness), limit), side) for side, limit in CASES]
            seconds = processes * 6 * BLOCKS[place.split(",")[0]] * ms / 1000
            rows.append((place, name, f"{seconds:.1f}", str(len(measured) // processes), *cells))
    return tuple(head), rows


def _cell(found: Rate, side: str) -> str:
    """Wrong verdicts with their interval, and undecided ones, in percent."""
    wrong, (low, high) = (
        (found.failed, found.failed_interval) if side == "same" else (found.passed, found.passed_interval)
    )
    return f"{wrong / found.tries:.1%} [{low:.1%}, {high:.1%}] / {found.undecided / found.tries:.1%}"
