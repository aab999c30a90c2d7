"""Entries of histories whose levels are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from secateur.benchmarks.history.entry import SPEEDUP, Entry, Value, entry_of
from tests.benchmarks.samples import HERE, result


@cache
def measured(name: str = "half", machine: str = "ci", commit: str = "a" * 40) -> Entry:
    """An entry of a planted result."""
    return entry_of(result(), name, machine, commit, "2026-01-01T00:00:00+00:00")


def entries(values: Sequence[float], measure: str = "pruned p50", machine: str = "ci") -> list[Entry]:
    """One entry a day with one value each."""
    better = measure == SPEEDUP
    return [
        Entry(
            "half",
            machine,
            f"{day:02x}{day:038x}",
            f"2026-01-01T00:{day // 60:02}:{day % 60:02}+00:00",
            HERE,
            (Value(measure, value, "x" if better else "ms", "torch:cpu", 1, higher_is_better=better),),
        )
        for day, value in enumerate(values)
    ]


def stepped(level: float = 1.3, before: int = 12, after: int = 8, noise: float = 0.01) -> list[float]:
    """Values around 10 that change to `level` times as much."""
    rng = np.random.default_rng(3)
    steps = np.r_[np.ones(before), np.full(after, level)]
    return [float(value) for value in 10 * steps * np.exp(noise * rng.normal(size=before + after))]


def elsewhere(entry: Entry, cpu: str) -> Entry:
    """The entry as of another processor."""
    return replace(entry, environment=replace(entry.environment, cpu_model=cpu))
