"""One result in a history: what a bench.json says of one commit, on one machine, in numbers that trends are made of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from secateur.benchmarks.environment import Environment
from secateur.benchmarks.keys import TOP1, split_key
from secateur.benchmarks.results_file import BenchResult
from secateur.core.errors import BenchError

WORD = re.compile(r"[A-Za-z0-9][\w.-]*")
"""What machines, results and commits may be named: words that are names of files everywhere."""
SPEEDUP = "speedup"


@dataclass(frozen=True)
class Value:
    """One number: `measure` of a `target` (with its precision and mode) at a batch; of no target where it has none.

    `low` and `high` are its 95 % interval, where there is one.
    """

    measure: str
    value: float
    unit: str
    target: str = ""
    batch: int | None = None
    low: float | None = None
    high: float | None = None
    higher_is_better: bool = False

    @property
    def where(self) -> str:
        """Its target and batch, as a table shows them."""
        return f"{self.target}, batch {self.batch}" if self.target else ""


@dataclass(frozen=True)
class Entry:
    """The values of the result `name` of a `commit` on a `machine`; `time` (ISO 8601) is the commit's.

    Raises `BenchError` for words that cannot be names of files.
    """

    name: str
    machine: str
    commit: str
    time: str
    environment: Environment
    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        for what in ("name", "machine", "commit"):
            word = getattr(self, what)
            if not WORD.fullmatch(word):
                raise BenchError(
                    f"the {what} is {word!r}, but must be a word of letters, digits, '.', '_' and '-' that begins with "
                    f"a letter or a digit: give another with --{what}"
                )

    def kind(self, value: Value) -> tuple[tuple[str, str], ...]:
        """What must be equal for a value to stand in one line with another one.

        Ratios are compared between machines of one kind, milliseconds within one machine, and counts and accuracies
        anywhere (see `environment.kind`).
        """
        if not value.target:
            return ()
        kind = tuple(self.environment.kind(value.target).items())
        return kind if value.measure == SPEEDUP else (("machine", self.machine), *kind)


def entry_of(result: BenchResult, name: str, machine: str, commit: str, time: str) -> Entry:
    """The entry of a result."""
    return Entry(name, machine, commit, time, result.environment, tuple(_values(result)))


def _values(result: BenchResult) -> Iterator[Value]:
    for key, ratio in result.speedup.items():
        dense, pruned = result.dense.latency_ms[key], result.pruned.latency_ms[key]
        place = split_key(key)[0], pruned.batch
        yield Value(SPEEDUP, ratio.ratio, "x", *place, ratio.low, ratio.high, higher_is_better=True)
        yield Value("dense p50", dense.p50, "ms", *place)
        yield Value("pruned p50", pruned.p50, "ms", *place)
        yield Value("pruned p99", pruned.p99, "ms", *place)
    for measure, count, unit in (
        ("macs", result.pruned.macs, "MACs"),
        *((f"size of {goal}" if goal else "size", pruned, "bytes") for goal, (_, pruned) in result.sizes.items()),
    ):
        if count is not None:
            yield Value(measure, count, unit)
    if (judged := result.judged) is not None:
        name = "top-1" if judged.name == TOP1 else judged.name
        yield Value(name, judged.pruned, judged.unit, higher_is_better=judged.higher_is_better)
