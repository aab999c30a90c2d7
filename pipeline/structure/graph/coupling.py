"""Coupling: the positions of a model's parameters, and which of them can only go together."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

Mark = Literal["width", "norm", "query_key", "value", "lost"]
FIXED = 0
"""The label of everything that cannot be removed."""


class Coupling:
    """Numbers the positions of parameters as labels, and collects what the graph says of them.

    Labels that are coupled go together when one of them goes; those that are fixed stay, with a reason. A mark says
    where a label was seen: in a residual sum, in a normalisation, in the product of queries and keys or values.
    `blocks` pairs labels with those of a coarser axis: a head goes when all of its dimensions go. Labels coupled
    `across` the heads go together when a dimension of all heads does, but not when one head does: what is of one head
    (`parts`) is finer than what goes with a unit (`components`).
    """

    def __init__(self) -> None:
        self.count = 1
        self._edges: list[NDArray[np.int64]] = []
        self._across: list[NDArray[np.int64]] = []
        self._parts: list[NDArray[np.int64]] = []
        self._pieces: list[tuple[NDArray[np.int64], str]] = []
        self._heads: set[int] = set()
        self._fixed: list[tuple[NDArray[np.int64], str]] = []
        self._marks: dict[Mark, list[NDArray[np.int64]]] = {}
        self._fixed_labels: set[int] = {FIXED}
        self._constants: list[int] = []
        self.blocks: list[tuple[Tensor, Tensor]] = []

    def fresh(self, number: int) -> Tensor:
        """New labels, `[number]`."""
        self.count += number
        return torch.arange(self.count - number, self.count)

    def constant(self, number: int) -> Tensor:
        """New labels of something that nothing makes or learns, `[number]`."""
        found = self.fresh(number)
        self._constants += (self.count - number, self.count)
        return found

    def is_constant(self, labels: Tensor) -> bool:
        """Whether all labels are those of constants, which lie between an even and an odd bound."""
        return bool((np.searchsorted(self._constants, labels.numpy().reshape(-1), side="right") % 2 == 1).all())

    def couple(self, one: Tensor, two: Tensor, across: bool = False) -> None:
        """Elements of two tensors of labels go together, after broadcasting one to the other."""
        (self._across if across else self._edges).append(_pairs(one, two))

    def piece(self, labels: Tensor, reason: str) -> None:
        """All labels along the last dimension in which they change go together, since something needs all of them."""
        rows = labels.movedim(max(dim for dim, size in enumerate(labels.shape) if size > 1), -1)
        self.couple(rows, rows[..., :1])
        self._pieces.append((np.unique(labels.numpy()), _placed(reason)))

    def couple_parts(self, one: Tensor, two: Tensor) -> None:
        """The same for two equal parts of a tensor, unless they are queries, keys or values, which go on their own."""
        self._parts.append(_pairs(one, two))

    def fix(self, labels: Tensor, reason: str) -> None:
        """The labels stay; of several reasons the first one is told."""
        found = np.unique(labels.numpy())
        self._fixed.append((found[found != FIXED], _placed(reason)))
        self._fixed_labels.update(found.tolist())

    def all_fixed(self, labels: Tensor) -> bool:
        """Whether all of some labels have been fixed themselves, so that nothing more need be said of them."""
        return self._fixed_labels.issuperset(np.unique(labels.numpy()).tolist())

    def mark(self, labels: Tensor, mark: Mark) -> None:
        """Remembers where labels were seen."""
        self._marks.setdefault(mark, []).append(np.unique(labels.numpy()))

    def block(self, coarse: Tensor, fine: Tensor) -> None:
        """Each label of `coarse` is a block of those of `fine` that it broadcasts to."""
        self.blocks.append((coarse, fine))

    def heads_of(self, labels: Tensor, dims: Collection[int]) -> Tensor:
        """New labels of the blocks that labels form along `dims`: of the heads of dimensions.

        Blocks of the same labels are one, such as those of a head in all samples and windows.
        """
        outer = [dim for dim in range(labels.ndim) if dim not in dims]
        shape = [1 if dim in dims else size for dim, size in enumerate(labels.shape)]
        rows = labels.permute(*outer, *dims).reshape(math.prod(shape), -1)
        found, block = torch.unique(rows, dim=0, return_inverse=True)
        coarse = self.fresh(len(found))[block].reshape(shape)
        self.block(coarse, labels)
        self._heads.update(coarse.reshape(-1).tolist())
        return coarse

    def is_heads(self, labels: Tensor) -> bool:
        """Whether labels are those of heads."""
        return self._heads.issuperset(labels.reshape(-1).tolist())

    def components(self) -> NDArray[np.int64]:
        """For each label the number of the set that it goes with."""
        return self.solved()[0]

    def solved(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """For each label the number of the set that it goes with, and that of the one that goes when a head goes."""
        alone = [*self._edges, *self._equal_parts()]
        return self._connected([*alone, *self._across]), self._connected(alone)

    def _equal_parts(self) -> list[NDArray[np.int64]]:
        """The couplings of equal parts but those of queries, keys and values."""
        if not self._parts:
            return []
        found = self._connected([*self._edges, *self._across])
        attended = [*(self.marked("query_key", found) | self.marked("value", found))]
        return [pairs for pairs in self._parts if not np.isin(found[pairs], attended).any()]

    def _connected(self, pairs: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
        edges = np.concatenate([np.zeros((0, 2), dtype=np.int64), *pairs])
        matrix = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(self.count, self.count))
        return np.asarray(connected_components(matrix, directed=False)[1], dtype=np.int64)

    def reasons(self, components: NDArray[np.int64]) -> dict[int, str]:
        """For each component that stays, why."""
        found: dict[int, str] = {}
        for labels, reason in self._fixed:
            for component in np.unique(components[labels]).tolist():
                found.setdefault(component, reason)
        found.setdefault(int(components[FIXED]), "it is tied to values that are not made by any parameter")
        return found

    def pieces(self, components: NDArray[np.int64]) -> dict[int, str]:
        """For each component that holds all dimensions of a head, why."""
        found: dict[int, str] = {}
        for labels, reason in self._pieces:
            for component in np.unique(components[labels]).tolist():
                found.setdefault(component, reason)
        return found

    def marked(self, mark: Mark, components: NDArray[np.int64]) -> set[int]:
        """The components with a label of that mark."""
        found = self._marks.get(mark, [])
        return set(np.unique(components[np.concatenate(found)]).tolist()) if found else set()


class Aside(Coupling):
    """Numbers labels as the coupling `of` does, and says nothing of them: what nobody reads takes nothing along."""

    def __init__(self, of: Coupling) -> None:
        super().__init__()
        self._of = of

    def fresh(self, number: int) -> Tensor:
        """New labels of the other coupling, `[number]`."""
        return self._of.fresh(number)


def _placed(reason: str) -> str:
    """A reason that starts with the path of a module, which is empty for the model itself."""
    return f"the model itself{reason}" if reason.startswith(":") else reason


def _pairs(one: Tensor, two: Tensor) -> NDArray[np.int64]:
    """The labels of elements of two tensors that meet and differ, `[pairs, 2]`, after broadcasting one to the other."""
    pairs = torch.stack([one + 0 * two, two + 0 * one], dim=-1).reshape(-1, 2)
    return np.unique(pairs[pairs[:, 0] != pairs[:, 1]].numpy(), axis=0)
