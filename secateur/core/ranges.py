"""Checks of numbers that a recipe or a caller gives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from secateur.core.errors import SecateurError


@dataclass(frozen=True)
class Range:
    """Finite numbers from `low` to `high`, both allowed unless `strict`; without `high` there is no upper bound."""

    low: float
    high: float | None = None
    strict: bool = False

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return False
        if self.strict:
            return value > self.low and (self.high is None or value < self.high)
        return value >= self.low and (self.high is None or value <= self.high)

    def __str__(self) -> str:
        if self.high is None:
            return f"more than {self.low}" if self.strict else f"{self.low} or more"
        return f"{'between' if self.strict else 'from'} {self.low} {'and' if self.strict else 'to'} {self.high}"


def check_ranges(spec: object, where: str, ranges: Mapping[str, Range], error: type[SecateurError]) -> None:
    """Raises `error` for the first attribute of `spec` outside its range (what is no number is outside of all).

    Every item of a sequence must lie in the range; None, where an attribute may be absent, is not looked at.
    `where` is the spec's own name, as the user knows it: `plan.evolution`, or nothing for the recipe itself.
    """
    for name, allowed in ranges.items():
        given = getattr(spec, name)
        for value in given if isinstance(given, list | tuple) else [given]:
            if value is not None and value not in allowed:
                shown = list(given) if isinstance(given, tuple) else given
                raise error(f"{where}{'.' * bool(where)}{name} is {shown!r}, but must be {allowed}")
