"""Tensors whose slices come to differ in size, and the operations on them, written slice by slice."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from secateur.pipeline.structure.codegen.calls import CodeError
from secateur.pipeline.structure.codegen.resized_ops import copied, lengths_left
from secateur.pipeline.structure.codegen.sizes import RemainingSizes
from secateur.pipeline.structure.graph.program import operation_of
from secateur.pipeline.structure.graph.value import Value, dims_of

WIDTHS = "it computes heads of one width only"


@dataclass(frozen=True)
class Stack:
    """A tensor whose slices along `dim` would differ in size: the slices one by one, each of length 1 there.

    A packed projection of queries, keys and values `[B, N, 3, heads, dims]` is one when a plan keeps other dimensions
    of the values than of queries and keys.
    """

    parts: tuple[fx.Node, ...]
    dim: int


Written = Stack | fx.Node | tuple[fx.Node, ...]


def write_apart(
    graph: fx.Graph, sizes: RemainingSizes, node: fx.Node, value_of: Callable[[fx.Node], fx.Node]
) -> Stack | None:
    """The slices that a reshape of one dimension makes, one part after the other; None where they are equal.

    `value_of` has the copy in `graph` of a node that was traced. Raises `CodeError` where the reshape is another one.
    """
    if operation_of(node) not in ("view", "reshape", "unflatten"):
        return None
    value, source = sizes.values[node], node.args[0]
    assert isinstance(source, fx.Node)  # for the type checker: all three read a tensor
    dim = sizes.unequal(value)
    if dim is None:
        return None
    axis = _taken_apart(sizes.values[source], value, dim)
    if axis is None:
        raise CodeError(sizes.module, WIDTHS)
    (labels,) = value.on(dim)
    lengths = [int(sizes.stays(labels.narrow(dim, index, 1)).sum()) for index in range(value.shape[dim])]
    split = graph.call_function(torch.ops.aten.split_with_sizes.default, (value_of(source), lengths, axis))
    place = axis if operation_of(node) == "unflatten" else None
    pieces = [graph.call_function(operator.getitem, (split, index)) for index in range(len(lengths))]
    return Stack(tuple(_reshaped(graph, sizes, node, dim, pieces, value_of, place)), dim)


def _reshaped(
    graph: fx.Graph,
    sizes: RemainingSizes,
    node: fx.Node,
    dim: int,
    pieces: Sequence[fx.Node],
    value_of: Callable[[fx.Node], fx.Node],
    place: int | None = None,
) -> list[fx.Node]:
    """The slices along `dim` of a reshape, or of a dimension `place` that is unflattened, from the `pieces` of each."""
    value, given, first = sizes.values[node], list(node.args[-1]), place or 0  # type: ignore[arg-type]  # lengths
    inside = slice(first, first + len(given))
    parts = []
    for index, piece in enumerate(pieces):
        left = sizes.slice(value, dim, index)[inside]
        asked = lengths_left(sizes, given, node.meta["val"].shape[inside], value.shape[inside], left)
        asked[dim - first] = left[dim - first]
        shape = copied(graph, asked, value_of)
        target: Any = torch.ops.aten.reshape.default if place is None else torch.ops.aten.unflatten.int
        parts.append(graph.call_function(target, (piece, shape) if place is None else (piece, place, shape)))
    return parts


def _taken_apart(source: Value, value: Value, dim: int) -> int | None:
    """The dimension whose parts, one after the other, are the slices along `dim` of what the tensor is reshaped to."""
    made = value.on(dim)
    if len(made) != 1 or dim != min(dims_of(made[0])):
        return None
    rows = made[0].reshape(-1)
    found = [one for one in source.maps if len(dims_of(one)) == 1 and torch.equal(one.reshape(-1), rows)]
    return max(dims_of(found[0])) if found else None


def write_stacked(
    graph: fx.Graph, sizes: RemainingSizes, node: fx.Node, stack: Stack, value_of: Callable[[fx.Node], fx.Node]
) -> Written:
    """An operation on slices of unequal size: moved one by one, or taken out; raises `CodeError` for any other."""
    name, args = operation_of(node), node.args
    assert isinstance(args[0], fx.Node)  # for the type checker: it is the one that stands for the stack
    rank = len(sizes.values[args[0]].shape)
    if name == "permute":
        return _each(graph, node, stack, [at % rank for at in _ints(args[1])].index(stack.dim))
    if name == "transpose":
        one, two = (at % rank for at in _ints(args[1:3]))
        return _each(graph, node, stack, {one: two, two: one}.get(stack.dim, stack.dim))
    if name == "unsqueeze":
        (new,) = (at % (rank + 1) for at in _ints(args[1:2]))
        return _each(graph, node, stack, stack.dim + (new <= stack.dim))
    if name == "squeeze" and len(args) == 2:
        gone = {at % rank for at in _ints(args[1] if isinstance(args[1], (list, tuple)) else args[1:])}
        if stack.dim not in gone:
            return _each(graph, node, stack, stack.dim - sum(at < stack.dim for at in gone))
    until = slice(stack.dim + 1)
    if name in ("view", "reshape") and sizes.values[args[0]].shape[until] == sizes.values[node].shape[until]:
        return Stack(tuple(_reshaped(graph, sizes, node, stack.dim, stack.parts, value_of)), stack.dim)
    if name in ("contiguous", "clone", "alias"):
        return _each(graph, node, stack, stack.dim)
    if name == "unbind" and (_ints(args[1:2]) or [0])[0] % rank == stack.dim:
        return tuple(_select(graph, part, stack.dim) for part in stack.parts)
    if name == "select" and (place := _ints(args[1:3]))[0] % rank == stack.dim:
        return _select(graph, stack.parts[place[1]], stack.dim)
    raise CodeError(sizes.module, WIDTHS)


def _each(graph: fx.Graph, node: fx.Node, stack: Stack, dim: int) -> Stack:
    """The same operation on every slice."""
    target: Any = node.target
    return Stack(
        tuple(graph.call_function(target, (part, *node.args[1:]), dict(node.kwargs)) for part in stack.parts), dim
    )


def _select(graph: fx.Graph, part: fx.Node, dim: int) -> fx.Node:
    return graph.call_function(torch.ops.aten.select.int, (part, dim, 0))


def _ints(numbers: Any) -> list[int]:
    return [int(number) for number in numbers]
