"""Curves measured on the model: what each group costs when it alone is pruned."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import numpy as np
from scipy.interpolate import PchipInterpolator

from secateur.pipeline.plan.allocation import Allocation, Order, Problem, allocation

POINTS = 4


@allocation("sensitivity")
class Sensitivity(Allocation):
    """Each group's curve of the objective decides: what costs little for what it saves goes first.

    Each group alone is pruned to `POINTS` widths, evenly spread, in the order of its scores; between them the curve is
    interpolated smoothly and monotonically, and made to rise ever faster (its lower convex hull), so that the steps of
    a group stay in order.
    """

    needs: ClassVar[tuple[str, ...]] = ("objective",)

    def order(self, problem: Problem) -> Order:
        """The steps by the rise of the objective for each unit of cost."""
        dense, base = problem.cost({}), problem.objective({})
        keyed = []
        for place, (name, steps) in enumerate(problem.steps.items()):
            if not steps:
                continue
            counts = sorted({round(share * len(steps)) for share in np.linspace(0, 1, POINTS + 1)})
            rises = [problem.objective(problem.without(name, count)) - base if count else 0.0 for count in counts]
            saved = [dense - problem.cost(problem.without(name, count)) for count in counts]
            every = np.arange(len(steps) + 1)
            curve, savings = PchipInterpolator(counts, rises)(every), np.interp(every, counts, saved)
            for slope, start, stop in slopes(every.tolist(), curve.tolist(), savings.tolist()):
                keyed += [(slope, place, count, steps[count]) for count in range(start, stop)]
        return [step for *_, step in sorted(keyed, key=lambda item: item[:3])]


def slopes(counts: list[int], rises: list[float], saved: list[float]) -> list[tuple[float, int, int]]:
    """The pieces (rise for each unit saved, first count, last count) of the lower convex hull of a measured curve."""
    hull: list[int] = []
    for point in range(len(counts)):
        while len(hull) > 1 and _slope(rises, saved, hull[-2], point) <= _slope(rises, saved, hull[-2], hull[-1]):
            hull.pop()
        hull.append(point)
    return [(_slope(rises, saved, a, b), counts[a], counts[b]) for a, b in pairwise(hull)]


def _slope(rises: list[float], saved: list[float], start: int, stop: int) -> float:
    return (rises[stop] - rises[start]) / max(saved[stop] - saved[start], 1e-300)
