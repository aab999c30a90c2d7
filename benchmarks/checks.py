"""One limit of a gate and how a candidate stands to it, and how an interval is judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from secateur.benchmarks.bootstrap import Interval

Outcome = Literal["pass", "fail", "inconclusive"]
Place: TypeAlias = tuple[str, int]  # target and batch


@dataclass(frozen=True)
class Check:
    """One limit and how the candidate stands to it; `low` and `high` are its 95 % interval, where it has one."""

    name: str
    value: float
    limit: float
    outcome: Outcome
    sentence: str
    low: float | None = None
    high: float | None = None
    target: str | None = None
    batch: int | None = None
    device: str | None = None

    @property
    def where(self) -> str:
        """The device, the target and the batch in words, as far as it is about one."""
        words = self.device, self.target, f"batch {self.batch}" if self.batch else None
        return " ".join(word for word in words if word)


def at_least(interval: Interval, limit: float) -> Outcome:
    """Pass when the whole interval reaches the limit, fail when none of it does, else inconclusive."""
    if interval.low >= limit:
        return "pass"
    return "fail" if interval.high < limit else "inconclusive"


def at_most(interval: Interval, limit: float) -> Outcome:
    """Pass when the whole interval is within the limit, fail when none of it is, else inconclusive."""
    if interval.high <= limit:
        return "pass"
    return "fail" if interval.low > limit else "inconclusive"


def interval_check(name: str, found: Interval, limit: float, outcome: Outcome, sentence: str, place: Place) -> Check:
    """The check of a limit on something that has an interval."""
    return Check(name, found.ratio, limit, outcome, sentence, found.low, found.high, *place)


def place_name(place: Place) -> str:
    """A target and its batch in words."""
    return f"{place[0]} batch {place[1]}"
