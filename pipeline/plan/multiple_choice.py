"""The multiple-choice knapsack problem: one choice of each class, with the least sum of losses that saves enough.

Exact for all that plans ask, in integers and by an order of its own, so that every machine finds the same choices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from secateur.core.errors import PlanError

FINENESS = 2.0**50
"""The sum of the largest losses (savings) in integer units: float64 still holds every sum of them exactly."""
STATES = 50_000
"""With more states than this at once, the search begins anew and thins them out, to within GAP of the least loss."""
GAP = 1e-3
"""The share of the least loss, above that of the cheapest choices, that a search which thins out may add."""
FAR = np.iinfo(np.int64).max // 4
ROUNDING = 2.0**-50
"""More than what a product of two floats is off, as a share of it."""

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Numbers = TypeVar("Numbers", Floats, Integers)
NONE: Integers = np.zeros(0, dtype=np.int64)


def least_loss(losses: Sequence[Floats], savings: Sequence[Floats], asked: float) -> list[int]:
    """For each class, which of its choices gives the least sum of losses with savings of at least `asked` in all.

    Of choices with equal sums the one that saves most is taken. Losses may be negative. Classes may come in any order:
    only among those with equal losses and savings does it decide. Raises `PlanError` where nothing saves enough.

    Dynamic programming over the classes with the relaxed problem as the bound (Dyer, Riha and Walker, 1995; Pisinger,
    1995): a state is a sum of losses and savings that no other one beats, and it goes on where the linear relaxation of
    the classes to come does not rule it out.
    """
    whole, factor = _integers(savings)
    lost, _ = _integers(losses)
    classes = [_Class.of(*pair) for pair in zip(lost, whole, strict=True)]
    order = sorted(
        range(len(classes)),
        key=lambda place: (-classes[place].coarseness, whole[place].tolist(), lost[place].tolist()),
    )
    needed = int(asked * factor) - len(classes)  # each of the savings was rounded
    chosen = _search([classes[place] for place in order], needed)
    found = dict(zip(order, chosen, strict=True))
    return [found[place] for place in range(len(classes))]


@dataclass(frozen=True)
class _Class:
    """The choices of one class that no other one beats, with losses and savings that rise, and their `numbers`.

    `corners` are the places of those on the lower convex hull.
    """

    losses: Integers
    savings: Integers
    numbers: Integers
    corners: Integers

    @staticmethod
    def of(losses: Integers, savings: Integers) -> _Class:
        """Of all choices of the class."""
        left = unbeaten(losses, savings)
        return _Class(losses[left], savings[left], left, _hull(losses[left], savings[left]))

    def open(self, price: float, room: int) -> Integers:
        """The choices that may be part of a solution which is at most `room` above the relaxed one, at its `price`."""
        paid = price * self.savings
        reduced = self.losses - paid
        return np.flatnonzero(reduced - reduced.min() <= room + ROUNDING * np.abs(paid).max())

    @property
    def coarseness(self) -> int:
        """The largest step of savings: coarse classes come first, since few choices of theirs are good ones."""
        return int(np.diff(self.savings).max(initial=0))


class _Relaxation:
    """The least loss of classes for a saving, where choices may be mixed: a line through corners, convex and rising."""

    def __init__(self, classes: Sequence[_Class]) -> None:
        losses = [one.losses[one.corners] for one in classes]
        savings = [one.savings[one.corners] for one in classes]
        rises, steps = (np.concatenate([NONE, *(np.diff(part) for part in parts)]) for parts in (losses, savings))
        order = np.argsort(rises / steps, kind="stable")
        self.losses, self.savings = (
            np.cumsum([sum(int(part[0]) for part in parts), *more[order]])
            for parts, more in ((losses, rises), (savings, steps))
        )
        self.slopes = np.append(rises[order] / steps[order], 0.0)

    def below(self, needed: Integers) -> Integers:
        """A bound that no choices with at least these savings are below; `FAR` where there are none."""
        place = self._left_of(needed)
        beyond = np.maximum(needed - self.savings[place], 0)
        bound = self.losses[place] + np.floor(beyond * self.slopes[place]).astype(np.int64) - 1  # floats round
        return np.where(needed > self.savings[-1], FAR, bound)

    def above(self, needed: Integers) -> Integers:
        """The loss of choices that there are with at least these savings; `FAR` where there are none."""
        place = np.searchsorted(self.savings, needed)
        return np.where(place < len(self.losses), self.losses[np.minimum(place, len(self.losses) - 1)], FAR)

    def slope(self, needed: int) -> float:
        """What more savings cost there: the Lagrange multiplier of the savings."""
        return float(self.slopes[self._left_of(np.array([needed]))[0]])

    def _left_of(self, needed: Integers) -> Integers:
        return np.clip(np.searchsorted(self.savings, needed, side="right") - 1, 0, len(self.savings) - 1)


@dataclass(frozen=True)
class _States:
    """Sums of losses and savings after a class, each with the state before it and the number of the choice taken."""

    losses: Integers
    savings: Integers
    before: Integers
    numbers: Integers


def _search(classes: Sequence[_Class], needed: int) -> list[int]:
    """The numbers of the best choices, with thinned-out states where there would be too many."""
    relaxed = _Relaxation(classes)
    least = int(relaxed.below(np.array([needed]))[0])
    if least >= FAR:
        raise PlanError(
            "the knapsack has no solution: all groups together save less than the budget asks; use allocate: global, "
            "or a larger budget"
        )
    layers = _layers(classes, needed, 0)
    if layers is None:
        layers = _layers(classes, needed, max(int(GAP * (least - int(relaxed.losses[0]))), 4 * len(classes)))
    assert layers is not None  # which is so only of a search without tolerance
    last = layers[-1]
    enough = np.flatnonzero(last.savings >= needed)
    state = int(enough[np.lexsort((-last.savings[enough], last.losses[enough]))[0]])
    found = []
    for layer in reversed(layers):
        found.append(int(layer.numbers[state]))
        state = int(layer.before[state])
    return found[::-1]


def _layers(classes: Sequence[_Class], needed: int, tolerance: int) -> list[_States] | None:
    """The states after each class; None where there are too many, and no tolerance is given.

    Half of the tolerance goes to leaving out what could not improve by more, and a quarter twice to thinning: of states
    whose losses are that close, the one that saves most stands for all.
    """
    relaxed = _Relaxation(classes)
    least, best = (int(bound(np.array([needed]))[0]) for bound in (relaxed.below, relaxed.above))
    thinning = tolerance // (4 * len(classes))
    price = relaxed.slope(needed)
    zero = np.zeros(1, dtype=np.int64)
    states, layers = _States(zero, zero, zero, zero), []
    for place, one in enumerate(classes):
        rest = _Relaxation(classes[place + 1 :])
        open_ = one.open(price, best - least + len(classes) + tolerance)
        losses = (states.losses[:, None] + one.losses[open_]).ravel()
        savings = (states.savings[:, None] + one.savings[open_]).ravel()
        ends = losses + rest.above(needed - savings)
        best = min(best, int(ends.min()))
        bounds = losses + rest.below(needed - savings)
        left = np.flatnonzero((bounds <= best - tolerance // 2) | (ends == ends.min()))
        left = left[unbeaten(losses[left], savings[left])]
        if thinning:
            left = left[np.append(np.diff(losses[left] // thinning) > 0, True)]
        elif len(left) > STATES:
            return None
        states = _States(losses[left], savings[left], left // len(open_), one.numbers[open_[left % len(open_)]])
        layers.append(states)
    return layers


def _integers(parts: Sequence[Floats]) -> tuple[list[Integers], float]:
    """The numbers in integer units, and how many of these are one: only so are sums the same in every order."""
    total = sum(float(np.abs(part).max()) for part in parts)
    factor = FINENESS / total if total > 0 else 1.0
    return [np.rint(part * factor).astype(np.int64) for part in parts], factor


def unbeaten(losses: Numbers, savings: Numbers) -> Integers:
    """The places of what nothing else beats in both, by rising losses and savings; of equal ones the first."""
    order = np.lexsort((-savings, losses))
    most = np.maximum.accumulate(savings[order])
    return order[np.append(True, most[1:] > most[:-1])] if len(order) else order


def _hull(losses: Integers, savings: Integers) -> Integers:
    """The places on the lower convex hull of losses over savings, both of which rise."""
    hull: list[int] = []
    points = list(zip(savings.tolist(), losses.tolist(), strict=True))
    for place, (x, y) in enumerate(points):
        while len(hull) > 1:
            (x0, y0), (x1, y1) = points[hull[-2]], points[hull[-1]]
            if (y - y0) * (x1 - x0) > (y1 - y0) * (x - x0):
                break
            hull.pop()
        hull.append(place)
    return np.array(hull, dtype=np.int64)
