"""One ranking for all groups that are alike, or one for each group."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from secateur.pipeline.plan.allocation import Allocation, Order, Problem, allocation
from secateur.pipeline.structure.steps import Step


@allocation("global")
class GlobalRanking(Allocation):
    """Groups of one family are ranked together by score; the families give equal shares of their units.

    Ranking only within isomorphic groups is that of Isomorphic Pruning (Fang et al., 2024, arXiv 2407.04616).
    """

    def order(self, problem: Problem) -> Order:
        """The steps by the share of its family that is gone after them."""
        families: dict[str, list[str]] = {}
        for name in problem.steps:
            families.setdefault(problem.groups.named(name).family or name, []).append(name)
        return ranked(problem, families.values())


@allocation("uniform")
class Uniform(Allocation):
    """Every group gives the same share of its units."""

    def order(self, problem: Problem) -> Order:
        """The steps by the share of their group that is gone after them."""
        return ranked(problem, [[name] for name in problem.steps])


def ranked(problem: Problem, families: Collection[Sequence[str]]) -> Order:
    """All steps, ranked by score within each family of groups; the families give equal shares of their units.

    A group's later steps never come before its earlier ones: its scores are made to rise.
    """
    keyed: list[tuple[float, int, Step]] = []
    for place, names in enumerate(families):
        sizes = {name: problem.groups.named(name).units for name in names}
        total = sum(sizes.values())
        rising: list[tuple[float, Step]] = []
        for name in names:
            steps = problem.steps[name]
            rising += zip(np.maximum.accumulate([step.score for step in steps]).tolist(), steps, strict=True)
        gone = total - sum(len(problem.left[name]) if name in problem.left else sizes[name] for name in names)
        for _, step in sorted(rising, key=lambda item: item[0]):
            gone += len(step.units)
            keyed.append((gone / total, place, step))
    return [step for *_, step in sorted(keyed, key=lambda item: item[:2])]
