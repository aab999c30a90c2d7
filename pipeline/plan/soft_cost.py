"""What a choice costs when units may stay in part: differentiable, and exact where they stay or go as a whole."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from secateur.core.errors import PlanError
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.structure.groups import Axis, Groups

Product = tuple[float, tuple[int, ...]]
"""A factor, and the axes (by number) whose lengths it is multiplied by."""


def check_formula(budget: Budget) -> None:
    """Raises `PlanError` for a latency, which no formula gives."""
    if budget.measure == "latency":
        raise PlanError(
            "the allocation 'xpruner' needs a budget of macs, params or units, but got a latency: "
            "use allocate: knapsack, or a budget of macs"
        )


class SoftCost:
    """The cost in a budget's measure (MACs, parameters or units of the groups `names`) of shares of units.

    An axis is as long as the sum over its positions of the product of the shares that its members keep there: with
    shares of 0 and 1 that is `Axis.length`. Raises `PlanError` for a latency, which no formula gives.
    """

    def __init__(self, groups: Groups, budget: Budget, names: list[str]) -> None:
        check_formula(budget)
        self._numbers: dict[Axis, int] = {}
        self._sizes: list[int] = []
        self._members: list[list[tuple[str, Tensor]]] = []
        if budget.measure == "macs":
            self._products = [(term.macs, self._numbered(*term.axes)) for term in groups.terms]
        elif budget.measure == "params":
            self._products = [self._parameter(groups, name) for name in sorted(groups.parameters)]
        else:
            whole = ((name, groups.named(name).units) for name in names)
            axes = (Axis(units, ((name, tuple(range(units))),)) for name, units in whole)
            self._products = [(1.0, self._numbered(axis)) for axis in axes]

    def __call__(self, shares: Mapping[str, Tensor]) -> Tensor:
        """The cost, a scalar, of `shares[group]` `[units]` from 0 to 1; groups left out stay whole."""
        lengths = [self._length(number, shares) for number in range(len(self._sizes))]
        total = torch.zeros((), dtype=torch.float64)
        for factor, axes in self._products:
            total = (
                total + factor * torch.stack([lengths[number] for number in axes]).prod() if axes else total + factor
            )
        return total

    def _length(self, number: int, shares: Mapping[str, Tensor]) -> Tensor:
        stays = torch.ones(self._sizes[number], dtype=torch.float64)
        for name, units in self._members[number]:
            if name in shares:
                padded = torch.cat([shares[name].double(), torch.ones(1, dtype=torch.float64)])
                stays = stays * padded[units]  # -1, a position of no unit, is the one at the end
        return stays.sum()

    def _numbered(self, *axes: Axis) -> tuple[int, ...]:
        for axis in axes:
            if axis not in self._numbers:
                self._numbers[axis] = len(self._sizes)
                self._sizes.append(axis.size)
                self._members.append([(name, torch.as_tensor(units)) for name, units in axis.members])
        return tuple(self._numbers[axis] for axis in axes)

    def _parameter(self, groups: Groups, name: str) -> Product:
        factor, axes = 1.0, list[Axis]()
        for dim, size in enumerate(groups.shapes[name]):
            axis = groups.axes.get((name, dim))
            if axis is None:
                factor *= size
            else:
                axes.append(axis)
        return factor, self._numbered(*axes)
