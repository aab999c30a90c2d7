from __future__ import annotations

import math
from dataclasses import dataclass

import pytest

from secateur.core.errors import PlanError
from secateur.core.ranges import Range, check_ranges


@dataclass(frozen=True)
class _Spec:
    count: int | None = 1
    share: float = 0.5
    sizes: tuple[int, ...] = (1,)


@pytest.mark.parametrize(
    ("allowed", "inside", "outside", "words"),
    [
        (Range(1), (1, 2), (0, math.nan, math.inf, True, "2"), "1 or more"),
        (Range(0, strict=True), (0.1,), (0, -1, math.nan), "more than 0"),
        (Range(0, 1), (0, 0.5, 1), (-0.1, 1.1, math.nan), "from 0 to 1"),
        (Range(0, 1, strict=True), (0.5,), (0, 1, math.nan), "between 0 and 1"),
    ],
)
def test_bounds(allowed: Range, inside: tuple[float, ...], outside: tuple[object, ...], words: str) -> None:
    assert all(value in allowed for value in inside)
    assert not any(value in allowed for value in outside)
    assert str(allowed) == words


def test_the_first_value_outside_is_named() -> None:
    ranges = {"count": Range(1), "share": Range(0, 1)}
    check_ranges(_Spec(), "plan.thing", ranges, PlanError)
    with pytest.raises(PlanError, match=r"^plan\.thing\.share is 2, but must be from 0 to 1$"):
        check_ranges(_Spec(1, 2), "plan.thing", ranges, PlanError)


def test_every_item_is_looked_at_and_nothing_is_no_item() -> None:
    ranges = {"count": Range(1), "sizes": Range(1)}
    check_ranges(_Spec(None, sizes=()), "bench", ranges, PlanError)
    with pytest.raises(PlanError, match=r"^bench\.sizes is \[4, 0\], but must be 1 or more$"):
        check_ranges(_Spec(sizes=(4, 0)), "bench", ranges, PlanError)
