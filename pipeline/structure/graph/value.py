"""Values of the traced graph: for each element of a tensor, the labels that it goes with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

LabelMap = Tensor
"""The labels of a tensor's elements, int64, of the tensor's rank; length 1 where nothing changes."""


@dataclass(frozen=True)
class Value:
    """What is known of one tensor: its shape, and its label maps.

    An element is removed when its label in any map is. Different maps speak of different dimensions: a parameter
    `[out, in]` has one for each, `[out, 1]` and `[1, in]`, and projected queries `[1, N, heads, dims]` have one that
    changes with heads and dimensions together. A dimension in no map keeps its length. `data` holds the numbers
    themselves where they depend on nothing (indices), and `computed` says whether they depend on the model's input.
    Along the dimensions `expanded` all elements are equal.
    """

    shape: tuple[int, ...]
    maps: tuple[LabelMap, ...] = ()
    data: Tensor | None = None
    computed: bool = False
    expanded: frozenset[int] = frozenset()

    @property
    def narrow(self) -> Value:
        """The value before it was expanded, to broadcast with others."""
        shape = tuple(1 if dim in self.expanded else size for dim, size in enumerate(self.shape))
        return Value(shape, self.maps, None, self.computed)

    def on(self, dim: int) -> list[LabelMap]:
        """The maps that change along a dimension."""
        return [labels for labels in self.maps if labels.shape[dim] > 1]


def dims_of(labels: LabelMap) -> frozenset[int]:
    """The dimensions along which a map changes."""
    return frozenset(dim for dim, size in enumerate(labels.shape) if size > 1)


def compressed(labels: Tensor) -> LabelMap:
    """The labels with length 1 in every dimension along which they do not change."""
    for dim, size in enumerate(labels.shape):
        if size > 1 and (labels.stride(dim) == 0 or bool((labels == labels.narrow(dim, 0, 1)).all())):
            labels = labels.narrow(dim, 0, 1)
    return labels.clone()  # a view would keep the whole alive


def moved(value: Value, move: Callable[[Tensor], Tensor]) -> Value:
    """The value after an operation that only moves elements, which each map goes through alike."""
    found = move(torch.empty(value.narrow.shape, device="meta").expand(value.shape))
    maps = [compressed(move(labels.expand(value.shape))) for labels in value.maps]
    data = None if value.data is None else move(value.data)
    shape, steps = tuple(found.shape), found.stride()
    expanded = frozenset(dim for dim, size in enumerate(shape) if size > 1 and steps[dim] == 0)
    return Value(shape, tuple(maps), data, value.computed, expanded)


def placed(value: Value, dims: Sequence[int], rank: int) -> Value:
    """The value as a tensor of another rank: its dimension `i` becomes `dims[i]` (ascending or not), others are 1."""
    order = sorted(range(len(dims)), key=lambda i: dims[i])
    shape = [1] * rank
    for dim, size in zip(dims, value.shape, strict=True):
        shape[dim] = size

    def place(labels: LabelMap) -> LabelMap:
        sizes = [1] * rank
        for dim, size in zip(dims, labels.shape, strict=True):
            sizes[dim] = size
        return labels.permute(order).reshape(sizes)

    expanded = frozenset(dims[dim] for dim in value.expanded)
    return Value(tuple(shape), tuple(place(labels) for labels in value.maps), None, value.computed, expanded)
