"""Concatenation, and the parts of a tensor that is taken apart again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from secateur.pipeline.structure.graph.coupling import FIXED
from secateur.pipeline.structure.graph.program import operation_of
from secateur.pipeline.structure.graph.rules import Call, Result, Rules
from secateur.pipeline.structure.graph.shape_ops import fix_picked
from secateur.pipeline.structure.graph.trace import Trace
from secateur.pipeline.structure.graph.unify import unify
from secateur.pipeline.structure.graph.value import Value, compressed, dims_of, moved

RULES = Rules()
FILLED = ("zeros", "ones", "full", "new_zeros", "new_ones", "new_full")
"""What makes a tensor of one number in a shape that is given."""


@RULES.rule("split", "split_with_sizes", "unbind", "tensor_split")
def _split(trace: Trace, call: Call) -> Result:
    return _parts(trace, call, call.target)


@RULES.rule("chunk")
def _chunk(trace: Trace, call: Call) -> Result:
    """Equal parts: they must stay equal, so that the same position of each part goes.

    Not so queries, keys and values, of which others may go: code for these is taken over.
    """
    parts = _parts(trace, call, call.target)
    _couple_parts(trace, call, parts, call.get(2, "dim", 0), trace.coupling.couple_parts)
    return parts


@RULES.rule("glu")
def _gated(trace: Trace, call: Call) -> Result:
    """One half times the sigmoid of the other."""
    dim = call.get(1, "dim", -1)
    parts = _parts(trace, call, lambda x, *_args, **_kwargs: x.chunk(2, dim))
    _couple_parts(trace, call, parts, dim, trace.coupling.couple)
    first: Value = parts[0]
    return first


def _couple_parts(
    trace: Trace, call: Call, parts: Sequence[Value], dim: int, couple: Callable[[Tensor, Tensor], None]
) -> None:
    """The same position of each part goes."""
    dim %= len(parts[0].shape)
    for part in parts[1:]:
        for one, two in zip(parts[0].maps, part.maps, strict=False):
            if one.shape[dim] > 1 or two.shape[dim] > 1:
                if one.shape == two.shape:
                    couple(one, two)
                else:
                    trace.coupling.fix(one, f"{call.module}: parts of unequal size are taken from it")
                    trace.coupling.fix(two, f"{call.module}: parts of unequal size are taken from it")


def _parts(trace: Trace, call: Call, take_apart: Callable[..., Any]) -> tuple[Any, ...]:
    value: Value = call.args[0]

    def cut(x: Tensor) -> tuple[Tensor, ...]:
        return tuple(take_apart(x, *call.args[1:], **call.kwargs))

    count = len(cut(torch.empty(value.shape, device="meta")))
    results = []
    for index in range(count):
        part = moved(value, lambda x, index=index: cut(x)[index])  # type: ignore[misc]  # the index is bound
        fix_picked(trace, call, value, part)
        results.append(part)
    return tuple(results)


@RULES.rule("cat", "concat", "stack")
def _cat(trace: Trace, call: Call) -> Result:
    """Side by side along one dimension; along the others the parts go together."""
    dim = call.get(1, "dim", 0)
    values = _like_others(trace, call, dim)
    values = [value for value in values if 0 not in value.shape] or values[:1]  # what is empty says nothing
    if call.name == "stack":
        values = [moved(value, lambda x: x.unsqueeze(dim)) for value in values]
    rank = len(values[0].shape)
    dim %= rank
    if (blocks := _side_by_side(values, dim)) is not None:
        flat = [Value(_one(value.shape, dim), tuple(x for x in value.maps if x.shape[dim] == 1)) for value in values]
        maps = [blocks, *unify(trace.coupling, flat, call.module)]
        return Value(call.shape, tuple(maps), None, any(value.computed for value in values))
    for value in values:
        for labels in value.on(dim):
            if len(dims_of(labels)) > 1:
                trace.coupling.fix(labels, f"{call.module}: several kinds of units are concatenated")
    # a part whose length along `dim` is one broadcasts there, as all parts do in what follows
    flat = [Value(_one(value.shape, dim), tuple(x for x in value.maps if x.shape[dim] == 1)) for value in values]
    maps = list(unify(trace.coupling, flat, call.module))
    if any(value.on(dim) for value in values):
        parts = []
        for value in values:
            found = [labels for labels in value.on(dim) if len(dims_of(labels)) == 1]
            shape = _only(value.shape, dim)
            part = found[0] if found else torch.full(shape, FIXED)
            parts.append(part.expand(shape))
        maps.append(compressed(torch.cat(parts, dim)))
    return Value(call.shape, tuple(maps), None, any(value.computed for value in values))


def _like_others(trace: Trace, call: Call, dim: int) -> list[Value]:
    """The parts; those that are one number all over (zeros, say) have the units that others have besides `dim`."""
    values: list[Value] = list(call.args[0])
    nodes: Any = call.node.args[0]
    model = next((value for value in values if value.maps), None)
    if call.name != "stack" and model is not None:
        maps = tuple(labels for labels in model.maps if labels.shape[dim] == 1)
        for place, value in enumerate(values):
            if operation_of(nodes[place]) in FILLED and len(value.shape) == len(model.shape) and not value.maps:
                trace.values[nodes[place]] = values[place] = replace(value, maps=maps)
    return values


def _side_by_side(values: Sequence[Value], dim: int) -> Tensor | None:
    """The map of parts of blocks, such as halves of all heads, along `dim`; None for parts of other kinds."""
    found = [value.on(dim) for value in values]
    if any(len(maps) != 1 for maps in found) or len(dims_of(found[0][0])) < 2:
        return None
    if len({(dims_of(maps[0]), _one(tuple(maps[0].shape), dim)) for maps in found}) > 1:
        return None
    return torch.cat([maps[0] for maps in found], dim=dim)


def _one(shape: tuple[int, ...], dim: int) -> tuple[int, ...]:
    return (*shape[:dim], 1, *shape[dim + 1 :])


def _only(shape: tuple[int, ...], dim: int) -> tuple[int, ...]:
    return tuple(size if at == dim else 1 for at, size in enumerate(shape))
