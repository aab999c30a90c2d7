"""What remains of the sizes of a module's values after a cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from secateur.pipeline.structure.codegen.calls import CodeError
from secateur.pipeline.structure.graph.value import LabelMap, Value, dims_of

CUTS = "it cuts heads at a position that differs from head to head"


@dataclass(frozen=True, eq=False)
class RemainingSizes:
    """The sizes of all values in the code of `module`, with only the components `alive`."""

    module: str
    values: Mapping[fx.Node, Any]
    components: NDArray[np.int64]
    alive: Tensor

    def stays(self, labels: Tensor) -> Tensor:
        """A mask of a map's elements, True where they stay."""
        return self.alive[torch.from_numpy(self.components)[labels]]

    def of(self, value: Value) -> list[int]:
        """The lengths of a tensor's dimensions; raises `CodeError` where its slices would differ in size."""
        sizes = list(value.shape)
        for labels in value.maps:
            stays = self.stays(labels)
            if bool(stays.all()):
                continue
            for dim in sorted(dims_of(labels), reverse=True):
                counts = stays.sum(dim, keepdim=True)
                left = set(counts[counts > 0].tolist())
                if len(left) > 1:
                    raise CodeError(self.module, "it computes heads of one width only")
                sizes[dim] = left.pop() if left else 0
                stays = counts > 0
        return sizes

    def slice(self, value: Value, dim: int, index: int) -> list[int]:
        """The lengths of one slice of a tensor, itself kept as a dimension of length 1."""
        maps = tuple(labels.narrow(dim, index, 1) if labels.shape[dim] > 1 else labels for labels in value.maps)
        return self.of(Value((*value.shape[:dim], 1, *value.shape[dim + 1 :]), maps))

    def unequal(self, value: Value) -> int | None:
        """The dimension along which slices would differ in size, though each has one; None where they are equal.

        Packed projections of queries, keys and values `[B, N, 3, heads, dims]` are such a value. Raises `CodeError`
        where no dimension divides the tensor so.
        """
        try:
            self.of(value)
        except CodeError:
            for dim in sorted({dim for labels in value.maps for dim in sorted(dims_of(labels))[:-1]}):
                try:
                    for index in range(value.shape[dim]):
                        self.slice(value, dim, index)
                except CodeError:
                    continue
                return dim
            raise
        return None

    def repeated(self, operand: Value, result: Value) -> dict[int, Tensor]:
        """The first positions of an operand of a matrix product that is equal along some heads, as many as are left.

        They are given by dimension, counted from the last one; so it is with keys and values that all heads share.
        """
        before, after = self.of(operand), self.of(result)
        return {
            place: torch.arange(after[place])
            for place in range(-min(len(before), len(after)), -2)
            if len(before) + place in operand.expanded and before[place] > after[place]
        }

    def picked(self, operand: Value, result: Value) -> dict[int, Tensor]:
        """The positions of an operand to pick, where it keeps more than the `result` of an elementwise operation.

        They are given by dimension, counted from the last one; so it is with angles for the dimensions of every head.
        Of equal elements, such as the lengths of heads, one is enough.
        """
        before, after = self.of(operand), self.of(result)
        found: dict[int, Tensor] = {}
        for place in range(-len(before), 0):
            if operand.shape[place] == before[place] > 1 and after[place] < result.shape[place]:
                equal = len(before) + place in operand.expanded
                stays = None if equal else self.along(result, place % len(after))
                found[place] = torch.zeros(1, dtype=torch.long) if stays is None else stays.nonzero().flatten()
        return found

    def along(self, value: Value, dim: int) -> Tensor | None:
        """A mask of the positions of one dimension that keep anything, None where all do.

        Raises `CodeError` where the dimensions that are left differ from head to head, so that no position is one.
        """
        for labels in value.on(dim):
            columns = self._columns(labels, dim)
            if bool((columns != columns[:, :1]).any()):
                raise CodeError(self.module, CUTS)
            stays = columns.any(1)
            if not bool(stays.all()):
                return stays
        return None

    def before(self, value: Value, dim: int, *positions: int) -> list[int] | None:
        """How many positions of one dimension are left before each of some; None where all are left.

        Raises `CodeError` where these are not as many in each head.
        """
        for labels in value.on(dim):
            columns = self._columns(labels, dim)
            if columns.numel() and bool(columns.all()):
                continue
            counts = [set(columns[:position].sum(0).tolist()) for position in positions]
            if any(len(count) > 1 for count in counts):
                raise CodeError(self.module, CUTS)
            return [count.pop() if count else 0 for count in counts]
        return None

    def in_steps(self, value: Value, dim: int, step: int) -> bool:
        """Whether of every `step` positions of a dimension, counted from the first, all stay or none, in each head."""
        for labels in value.on(dim):
            columns = self._columns(labels, dim)
            if len(columns) % step:
                return False
            blocks = columns.reshape(len(columns) // step, step, columns.shape[1])
            if bool((blocks != blocks[:, :1]).any()):
                return False
        return True

    def _columns(self, labels: LabelMap, dim: int) -> Tensor:
        """A mask of the positions along `dim` that stay: of dimensions of heads a column for each head that stays."""
        rows = self.stays(labels).movedim(dim, 0).reshape(labels.shape[dim], -1)
        return rows[:, rows.any(0)] if dim == max(dims_of(labels)) else rows.any(1, keepdim=True)
