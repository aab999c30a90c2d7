"""Soft masks of a group: which units stay, by how much, at a rate."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from secateur.pipeline.plan.allocate import Problem


@dataclass(frozen=True)
class Layer:
    """A group's units in the order in which they go, each at the share of the group that is gone before and after it.

    `first` and `last` `[units]` are the shares before and after a unit's chunk goes, `place` their mean; units that
    stay in any case lie beyond 1. `ends` are the shares that are gone after each chunk.
    """

    name: str
    place: Tensor
    first: Tensor
    last: Tensor
    ends: tuple[float, ...]

    @property
    def most(self) -> float:
        """The largest share that may go."""
        return self.ends[-1]

    def mask(self, rate: Tensor, temperature: float) -> Tensor:
        """The soft mask `[units]`: (1 + tanh(n (place - threshold))) / 2, for the threshold 1 - rate."""
        return (1 + torch.tanh(temperature * (self.place - (1 - rate)))) / 2

    def shares(self, rate: Tensor) -> Tensor:
        """How much of each unit stays `[units]`: whole units but for the chunk that the threshold lies in."""
        return 1 - ((1 - rate - self.first) / (self.last - self.first)).clamp(0, 1)

    def width(self, rate: float) -> int:
        """How many chunks are gone at a rate: the number whose share is closest."""
        gaps = [abs(1 - rate - gone) for gone in (0.0, *self.ends)]
        return gaps.index(min(gaps))


def layers_of(problem: Problem) -> list[Layer]:
    """The layers of all groups that can lose anything."""
    found = []
    for name, steps in problem.chunks.items():
        units, gone, ends = problem.groups.named(name).units, 0, []
        first, last = torch.full((units,), 2.0), torch.full((units,), 3.0)
        for chunk in steps:
            index = torch.tensor(chunk.units)
            first[index] = gone / units
            gone += len(chunk.units)
            last[index] = gone / units
            ends.append(gone / units)
        if ends:
            found.append(Layer(name, (first + last) / 2, first, last, tuple(ends)))
    return found
