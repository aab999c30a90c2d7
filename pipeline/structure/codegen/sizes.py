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
from secateur.pipeline.structure.graph.value import Value, dims_of


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

    def along(self, value: Value, dim: int) -> Tensor | None:
        """A mask of the positions of one dimension that keep anything, None where all do.

        Raises `CodeError` where the dimensions that are left differ from head to head, so that no position is one.
        """
        for labels in value.on(dim):
            rows = self.stays(labels).movedim(dim, 0).reshape(value.shape[dim], -1)
            columns = rows[:, rows.any(0)]
            if dim == max(dims_of(labels)) and bool((columns != columns[:, :1]).any()):
                raise CodeError(self.module, "it cuts heads at a position that differs from head to head")
            stays = rows.any(1)
            if not bool(stays.all()):
                return stays
        return None
