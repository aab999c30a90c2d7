"""Units that code puts in another order by a reshape into factors, moves of these and a reshape back: one selection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from secateur.pipeline.structure.codegen.calls import CodeError
from secateur.pipeline.structure.codegen.sizes import RemainingSizes
from secateur.pipeline.structure.graph.program import lengths, operation_of
from secateur.pipeline.structure.graph.value import LabelMap, Value, dims_of

_RESHAPES, _COPIES = ("view", "reshape", "unflatten"), ("contiguous", "clone", "alias")


@dataclass(frozen=True)
class Shuffle:
    """What `nodes` make of `source`, from the first reshape to the last: `positions` of what is left along `dim`."""

    source: fx.Node
    dim: int
    nodes: tuple[fx.Node, ...]
    positions: Tensor


@dataclass(frozen=True)
class Steps:
    """The `nodes` that put the positions of `dim` of `source` in an `order`, by way of `factors` of that dimension."""

    source: fx.Node
    dim: int
    factors: tuple[int, ...]
    nodes: tuple[fx.Node, ...]
    order: Tensor
    labels: LabelMap

    def uneven(self, components: NDArray[np.int64]) -> bool:
        """Whether units may go so that their order depends on how many of each part are left."""
        parts = torch.from_numpy(components)[self.labels.reshape(self.factors)]
        slabs = [parts.movedim(axis, 0).flatten(1) for axis in range(parts.ndim)]
        return not any(bool((rows == rows[:, :1]).all()) for rows in slabs)


def shuffle_from(sizes: RemainingSizes, first: fx.Node) -> Shuffle | None:
    """The shuffle that begins with a reshape, as that of ShuffleNet's channels; None for any other operation.

    So it is where each factor keeps as much: the code's own steps are then right. Where a factor keeps more of one
    part than of another, no tensor has its shape.
    """
    steps = steps_from(sizes.values, first)
    if steps is None or not _shapeless(sizes, steps.nodes):
        return None
    stays = sizes.stays(steps.labels).reshape(-1)
    return Shuffle(steps.source, steps.dim, steps.nodes, (stays.cumsum(0) - 1)[steps.order[stays[steps.order]]])


def steps_from(values: Mapping[fx.Node, Any], first: fx.Node) -> Steps | None:
    """The steps of a shuffle that begins with a reshape; None for any other operation."""
    source = first.args[0] if operation_of(first) in _RESHAPES else None
    if not isinstance(source, fx.Node):
        return None
    before, value = values.get(source), values.get(first)
    if not isinstance(before, Value) or not isinstance(value, Value):
        return None
    more = len(value.shape) - len(before.shape)
    shape, made = lengths(source.meta["val"]), lengths(first.meta["val"])
    for dim in range(len(shape)) if more > 0 else ():
        factors, found = made[dim : dim + more + 1], before.on(dim)
        if made[:dim] + made[dim + more + 1 :] != shape[:dim] + shape[dim + 1 :] or prod(factors) != shape[dim]:
            continue
        nodes, order = _moved_back(first, source, dim, factors)
        if order is not None and len(found) == 1 and dims_of(found[0]) == {dim}:
            return Steps(source, dim, factors, nodes, order, found[0])
    return None


def _moved_back(
    first: fx.Node, source: fx.Node, dim: int, factors: Sequence[int]
) -> tuple[tuple[fx.Node, ...], Tensor | None]:
    """The nodes from a reshape into factors to that back, and the order that the positions come in; None without one.

    Between them the factors of `dim` change places with one another alone.
    """
    nodes, places = [first], list(range(len(lengths(first.meta["val"]))))
    inside = range(dim, dim + len(factors))
    while len(nodes[-1].users) == 1:
        node = next(iter(nodes[-1].users))
        nodes.append(node)
        name, rank = operation_of(node), len(places)
        args: Sequence[Any] = node.args
        if name == "permute":
            places = [places[at % rank] for at in args[1]]
        elif name == "transpose":
            one, two = (at % rank for at in args[1:3])
            places[one], places[two] = places[two], places[one]
        elif name in _RESHAPES[:2]:
            turned = [place - dim for place in places[dim : inside.stop]]
            others = places[:dim] + places[inside.stop :]
            if lengths(node.meta["val"]) != lengths(source.meta["val"]) or others != sorted({*places} - {*inside}):
                break
            order = torch.arange(prod(factors)).reshape(*factors).permute(turned).reshape(-1)
            return tuple(nodes), order
        elif name not in _COPIES:
            break
    return tuple(nodes), None


def _shapeless(sizes: RemainingSizes, nodes: Sequence[fx.Node]) -> bool:
    """Whether what is left of a value between the first and the last of some nodes has no shape."""
    try:
        for node in nodes[:-1]:
            sizes.of(sizes.values[node])
    except CodeError:
        return True
    return False
