"""One ranking for all groups that are alike."""

from __future__ import annotations

import numpy as np

from secateur.pipeline.plan.allocate import Order, Problem, allocation
from secateur.pipeline.structure.steps import Chunk


@allocation("global")
def ranked_globally(problem: Problem) -> Order:
    """Groups of one family are ranked together by score; the families give equal shares of their units.

    Ranking only within isomorphic groups is that of Isomorphic Pruning (Fang et al., 2024, arXiv 2407.04616).
    """
    groups, chunks = problem.groups, problem.chunks
    families: dict[str, list[str]] = {}
    for name in chunks:
        families.setdefault(groups.named(name).family or name, []).append(name)
    keyed: list[tuple[float, int, Chunk]] = []
    for place, names in enumerate(families.values()):
        total = sum(groups.named(name).units for name in names)
        # a group's later chunks never come before its earlier ones: scores made to rise within the group
        rising = [
            (float(value), name, chunk)
            for name in names
            for value, chunk in zip(
                np.maximum.accumulate([chunk.score for chunk in chunks[name]] or [0.0]), chunks[name], strict=False
            )
        ]
        gone = 0
        for _, _, chunk in sorted(rising, key=lambda item: item[0]):
            gone += len(chunk.units)
            keyed.append((gone / total, place, chunk))
    return [chunk for _, _, chunk in sorted(keyed, key=lambda item: item[:2])]
