"""Operations whose arguments repeat sizes: what they become when only some of the units are left."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from secateur.pipeline.structure.codegen.calls import CodeError
from secateur.pipeline.structure.codegen.sizes import RemainingSizes
from secateur.pipeline.structure.graph.concat_ops import FILLED
from secateur.pipeline.structure.graph.program import is_symbol, operation_of

COMPUTED = "it cuts units at a position that it computes"
WITH_SAMPLES = "it cuts at a position of a dimension that holds units of all samples"


@dataclass(frozen=True)
class Operation:
    """A call of the graph: what is called with which arguments, nodes among them."""

    target: Any
    args: Sequence[Any]
    kwargs: Mapping[str, Any]


@dataclass(frozen=True)
class Scaled:
    """A `length` that the code computes, of which `left` of every `before` are left."""

    length: fx.Node
    left: int
    before: int


def copied(graph: fx.Graph, arguments: Any, value_of: Callable[[fx.Node], Any]) -> Any:
    """Arguments as another `graph` has them: `value_of` has the copies of nodes, and lengths are scaled there."""

    def copy(leaf: Any) -> Any:
        if isinstance(leaf, Scaled):
            times = graph.call_function(operator.mul, (value_of(leaf.length), leaf.left))
            return graph.call_function(operator.floordiv, (times, leaf.before))
        return value_of(leaf) if isinstance(leaf, fx.Node) else leaf

    return fx.node.map_aggregate(arguments, copy)


def resized(sizes: RemainingSizes, node: fx.Node) -> Operation | None:
    """The operation of a node for the sizes that are left, None where nothing in it changes.

    Raises `CodeError` where no arguments can say what is left.
    """
    resize = _RESIZED.get(operation_of(node))
    return None if resize is None else resize(sizes, node)


def _reshape(sizes: RemainingSizes, node: fx.Node) -> Operation | None:
    source, given = node.args
    if isinstance(given, torch.dtype):
        return None
    assert isinstance(given, Sequence)  # for the type checker: the overload with a dtype has gone
    value = sizes.values[node]
    shape = lengths_left(sizes, given, node.meta["val"].shape, value.shape, sizes.of(value))
    return Operation(node.target, [source, shape], node.kwargs) if shape != list(given) else None


def lengths_left(
    sizes: RemainingSizes, given: Sequence[Any], traced: Sequence[Any], old: Sequence[int], new: Sequence[int]
) -> list[Any]:
    """A shape that was `given`, and that the graph has as `traced`, of `new` lengths in place of the `old` ones.

    What was to be inferred still is, and so is a length that the code computes and that is another one now. Of several
    such lengths those that are a number for any size of the input are written as such, and then multiples of a number
    of units are scaled.
    """
    shape = [
        after if isinstance(size, int) and size != -1 else size if before == after else -1
        for size, before, after in zip(given, old, new, strict=True)
    ]
    if shape.count(-1) > 1:
        shape = [
            after if size == -1 and not is_symbol(length) else size
            for size, length, after in zip(shape, traced, new, strict=True)
        ]
    for place, size in enumerate(given):
        if shape.count(-1) > 1 and shape[place] == -1 and isinstance(size, fx.Node):
            shape[place] = _scaled(sizes, size, new[place], old[place])
    return shape


def _scaled(sizes: RemainingSizes, length: fx.Node, left: int, before: int) -> Scaled:
    """A length that is a whole number of units times what the input's size decides, also when fewer are left."""
    factor, _ = length.meta["val"].node.expr.as_coeff_Mul()
    if factor * left % before:
        raise CodeError(sizes.module, "it computes more than one length of a shape from numbers of units")
    return Scaled(length, left, before)


def _filled(sizes: RemainingSizes, node: fx.Node) -> Operation | None:
    """A tensor of one number, of the shape that is left."""
    place = int(operation_of(node).startswith("new_"))
    given: Any = node.args[place]
    value = sizes.values[node]
    shape = [
        size if before == after else _scaled(sizes, size, after, before) if isinstance(size, fx.Node) else after
        for size, before, after in zip(given, value.shape, sizes.of(value), strict=True)
    ]
    args = [*node.args[:place], shape, *node.args[place + 1 :]]
    return Operation(node.target, args, node.kwargs) if shape != list(given) else None


def _unflatten(sizes: RemainingSizes, node: fx.Node) -> Operation | None:
    source, place, given = _arguments(node, "self", "dim", "sizes")
    dim = place % len(sizes.values[source].shape)
    value, inside = sizes.values[node], slice(dim, dim + len(given))
    new = lengths_left(sizes, given, node.meta["val"].shape[inside], value.shape[inside], sizes.of(value)[inside])
    return Operation(node.target, [source, place, new], {}) if new != list(given) else None


def _split(sizes: RemainingSizes, node: fx.Node) -> Operation | None:
    source, _, place = _arguments(node, "self", "split_size", "dim")
    dim = (place or 0) % len(sizes.values[source].shape)
    parts = sizes.values[node]
    new = [sizes.of(part)[dim] for part in parts]
    if new == [part.shape[dim] for part in parts]:
        return None
    _check_known(sizes, source, dim)
    return Operation(torch.ops.aten.split_with_sizes.default, [source, new, dim], {})


def _slice(sizes: RemainingSizes, node: fx.Node) -> Operation | None:
    source, place, start, end, step = _arguments(node, "self", "dim", "start", "end", "step")
    dim = (place or 0) % len(sizes.values[source].shape)
    value = sizes.values[source]
    everything = not start and step in (None, 1) and (end is None or end == sys.maxsize)
    if everything or sizes.before(value, dim, 0) is None:
        return None
    _check_known(sizes, source, dim, start, end)
    first, last, _ = slice(start, end).indices(value.shape[dim])
    if step not in (None, 1):
        if first >= step or last < value.shape[dim] or not sizes.in_steps(value, dim, step):
            raise CodeError(sizes.module, f"it takes every {step}th unit, and {step} in a row do not go together")
        return None
    return Operation(node.target, [source, dim, *(sizes.before(value, dim, first, last) or ())], {})


def _narrow(sizes: RemainingSizes, node: fx.Node) -> Operation | None:
    source, place, start, length = _arguments(node, "self", "dim", "start", "length")
    dim = place % len(sizes.values[source].shape)
    value = sizes.values[source]
    if sizes.before(value, dim, 0) is None:
        return None
    _check_known(sizes, source, dim, start, length)
    first = start % value.shape[dim]
    here, there = sizes.before(value, dim, first, first + length) or (0, 0)
    return Operation(node.target, [source, dim, here, there - here], {})


def _select(sizes: RemainingSizes, node: fx.Node) -> Operation | None:
    source, place, index = _arguments(node, "self", "dim", "index")
    dim = place % len(sizes.values[source].shape)
    stays = sizes.along(sizes.values[source], dim)
    if stays is None:
        return None
    _check_known(sizes, source, dim, index)
    return Operation(node.target, [source, dim, int(stays[: index % len(stays)].sum())], {})


def _check_known(sizes: RemainingSizes, source: fx.Node, dim: int, *positions: Any) -> None:
    """Raises `CodeError` for positions that the code computes, or in a dimension that units share with the samples."""
    if any(isinstance(position, fx.Node) for position in positions):
        raise CodeError(sizes.module, COMPUTED)
    if is_symbol(source.meta["val"].shape[dim]):
        raise CodeError(sizes.module, WITH_SAMPLES)


def _layer_norm(sizes: RemainingSizes, node: fx.Node) -> Operation | None:
    source, given, *rest = node.args
    assert isinstance(given, Sequence)  # for the type checker: the lengths of the last dimensions
    shape = sizes.of(sizes.values[node])[-len(given) :]
    return Operation(node.target, [source, shape, *rest], node.kwargs) if shape != list(given) else None


def _group_norm(sizes: RemainingSizes, node: fx.Node) -> Operation | None:
    source, given, *rest = node.args
    assert isinstance(given, int)  # for the type checker: the number of groups
    value = sizes.values[node]
    groups = given * sizes.of(value)[1] // value.shape[1] if given > 1 else 1
    return Operation(node.target, [source, groups, *rest], node.kwargs) if groups != given else None


def _attention(sizes: RemainingSizes, node: fx.Node) -> Operation | None:
    """The scale of the dense model, which would otherwise follow the new width."""
    query = sizes.values[_arguments(node, "query")[0]]
    if node.kwargs.get("scale") is not None or sizes.of(query)[-1] == query.shape[-1]:
        return None
    return Operation(node.target, node.args, {**node.kwargs, "scale": query.shape[-1] ** -0.5})


def _convolution(sizes: RemainingSizes, node: fx.Node) -> Operation | None:
    """The groups of a convolution that is written as a function and loses groups."""
    groups: Any = node.args[6] if len(node.args) > 6 else node.kwargs.get("groups", 1)
    rows = sizes.along(sizes.values[_arguments(node, "input", "weight")[1]], 0)
    if rows is not None and not isinstance(groups, int):
        raise CodeError(sizes.module, "its convolution has as many groups as there are samples")
    left = groups if rows is None else int(rows.reshape(groups, -1).any(1).sum())
    if left == groups:
        return None
    if len(node.args) > 6:
        return Operation(node.target, [*node.args[:6], left, *node.args[7:]], node.kwargs)
    return Operation(node.target, node.args, {**node.kwargs, "groups": left})


def _arguments(node: fx.Node, *names: str) -> list[Any]:
    """The arguments of a node by their names in order, None where one is not given."""
    given: dict[str, Any] = dict(zip(names, node.args, strict=False)) | dict(node.kwargs)
    return [given.get(name) for name in names]


_RESIZED: dict[str, Callable[[RemainingSizes, fx.Node], Operation | None]] = {
    **dict.fromkeys(("view", "reshape", "expand"), _reshape),
    "unflatten": _unflatten,
    **dict.fromkeys(FILLED, _filled),
    **dict.fromkeys(("split", "split_with_sizes", "chunk", "tensor_split"), _split),
    "slice": _slice,
    "narrow": _narrow,
    "select": _select,
    **dict.fromkeys(("layer_norm", "rms_norm"), _layer_norm),
    "group_norm": _group_norm,
    "scaled_dot_product_attention": _attention,
    **dict.fromkeys((f"conv{kind}{rank}d" for kind in ("", "_transpose") for rank in (1, 2, 3)), _convolution),
}
