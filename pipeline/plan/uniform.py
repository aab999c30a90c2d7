"""The same share of every group."""

from __future__ import annotations

from secateur.pipeline.plan.allocate import Order, Problem, allocation
from secateur.pipeline.structure.steps import Chunk


@allocation("uniform")
def uniform(problem: Problem) -> Order:
    """Every group gives the same share: chunks ordered by the share of its group that is gone after them."""
    keyed: list[tuple[float, int, Chunk]] = []
    for place, (name, steps) in enumerate(problem.chunks.items()):
        gone = 0
        for chunk in steps:
            gone += len(chunk.units)
            keyed.append((gone / problem.groups.named(name).units, place, chunk))
    return [chunk for _, _, chunk in sorted(keyed, key=lambda item: item[:2])]
