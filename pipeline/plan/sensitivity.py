"""Curves measured on the model: what each group costs when it alone is pruned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np

from secateur.pipeline.plan.allocation import Allocation, Order, Problem, allocation
from secateur.pipeline.structure.steps import Step

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
        measured, dense = curves(problem), problem.cost({})
        saved = {
            name: [dense - problem.cost(problem.without(name, count)) for count in curve.counts]
            for name, curve in measured.items()
        }
        return [step for *_, step in ranked(problem, measured, saved)]


@dataclass(frozen=True)
class Curve:
    """What a group costs alone: measured at `counts` of its steps, and the `rises` of the objective after each step."""

    counts: tuple[int, ...]
    rises: list[float]


def curves(problem: Problem) -> dict[str, Curve]:
    """The curve of each group that has steps, by POINTS measurements of the objective."""
    from scipy.interpolate import PchipInterpolator  # slow to import, and most plans need no curves

    base, found = problem.objective({}), {}
    for name, steps in problem.steps.items():
        if not steps:
            continue
        counts = sorted({round(share * len(steps)) for share in np.linspace(0, 1, POINTS + 1)})
        rises = [problem.objective(problem.without(name, count)) - base if count else 0.0 for count in counts]
        every = np.arange(len(steps) + 1)
        found[name] = Curve(tuple(counts), PchipInterpolator(counts, rises)(every).tolist())
    return found


def ranked(
    problem: Problem, measured: Mapping[str, Curve], saved: Mapping[str, Sequence[float]]
) -> list[tuple[float, int, int, Step]]:
    """The steps of groups with these curves, each with its slope, its group's place and its own place there.

    `saved` is what each group saves at the counts of its curve.
    """
    keyed = []
    for place, (name, curve) in enumerate(measured.items()):
        steps = problem.steps[name]
        every = np.arange(len(steps) + 1)
        savings = np.interp(every, curve.counts, saved[name])
        for slope, start, stop in slopes(every.tolist(), curve.rises, savings.tolist()):
            keyed += [(slope, place, count, steps[count]) for count in range(start, stop)]
    return sorted(keyed, key=lambda item: item[:3])


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
