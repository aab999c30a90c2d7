"""Operations that only move elements: labels go through them as the elements do."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from secateur.pipeline.structure.graph.program import operation_of
from secateur.pipeline.structure.graph.rules import Call, Result, Rules, stays, traced_result
from secateur.pipeline.structure.graph.trace import Trace
from secateur.pipeline.structure.graph.value import LabelMap, Value, compressed, dims_of, moved

RULES = Rules()
_LIKE: Mapping[str, Callable[..., torch.Tensor]] = {
    **dict.fromkeys(("view", "view_as", "reshape_as"), torch.reshape),
    "expand_as": lambda x, shape: x.expand(shape),
}
"""What does to labels what an operation does to elements: labels need not lie in memory as these do."""
_MERGES = ("view", "reshape", "flatten")
_COPIES = ("clone", "contiguous", "to", "_to_copy", "alias", "detach")
ONE = "a forward function picks one of them by its number"


@RULES.rule(
    *("view", "reshape", "flatten", "unflatten", "permute", "transpose", "t", "movedim", "unsqueeze", "squeeze"),
    *("expand", "slice", "select", "flip", "roll", "repeat", "tile", "repeat_interleave", "unfold", "narrow"),
    *("pixel_unshuffle", "channel_shuffle", "swapaxes", "numpy_T", "matrix_H", "mT", "mH", "adjoint"),
    *("as_strided", "view_as", "reshape_as", "expand_as", "diagonal"),
)
def _move(trace: Trace, call: Call) -> Result:
    """The same operation on labels; where only one label of a map is left, that one cannot go."""
    value: Value = call.args[0]
    if call.name == "view" and isinstance(call.args[1], torch.dtype):
        return _other_type(trace, call, value)
    target: Callable[..., torch.Tensor] = _LIKE.get(call.name, call.target)
    others = call.args[1:]
    if call.name in _MERGES:
        value = _of_each_head(trace, call, value)
    if call.name.endswith("_as"):
        others = (others[0].shape,)
    if any(isinstance(other, Value) for other in (*others, *call.kwargs.values())):
        return stays(trace, call, f"{call.name} by numbers of a tensor")
    result = moved(value, lambda x: target(x, *others, **call.kwargs))
    fix_picked(trace, call, value, result)
    if call.name in ("repeat", "tile", "repeat_interleave"):
        result = replace(result, expanded=_repeated(value, result))
    for before, after in zip(value.maps, result.maps, strict=True):
        if len(dims_of(after)) < len(dims_of(before)):
            _interleave(trace, before)
    return replace(result, maps=tuple(labels for labels in result.maps if dims_of(labels)))


def _of_each_head(trace: Trace, call: Call, value: Value) -> Value:
    """The value with labels along a dimension that it was expanded to, when that is merged with one that has no units.

    So is a mask of each sample that is repeated for all of its heads: it has a row for each head that stays.
    """
    chain: list[Any] = [call.node.args[0]]
    while operation_of(chain[-1]) in _COPIES:
        chain.append(chain[-1].args[0])
    if operation_of(chain[-1]) != "expand":
        return value
    result = moved(value, lambda x: x.reshape(call.shape))
    for dim in value.expanded:
        size = [length if at == dim else 1 for at, length in enumerate(value.shape)]
        labels = trace.coupling.fresh(value.shape[dim]).reshape(size)
        found = dims_of(compressed(labels.expand(value.shape).reshape(call.shape)))
        if len(found) == 1 and not found & result.expanded and not any(result.on(at) for at in found):
            value = replace(value, maps=(*value.maps, labels), expanded=value.expanded - {dim})
    trace.values.update(dict.fromkeys(chain, value))
    return value


def _repeated(value: Value, result: Value) -> frozenset[int]:
    """The dimensions along which all elements of a repeated value are equal: those that had a length of one."""
    shape = (*[1] * (len(result.shape) - len(value.shape)), *value.narrow.shape)
    return frozenset(dim for dim, (old, new) in enumerate(zip(shape, result.shape, strict=True)) if old == 1 < new)


def _other_type(trace: Trace, call: Call, value: Value) -> Result:
    """The same bytes as numbers of another type; of another length only where these take more or fewer bytes."""
    if call.shape == value.shape:
        return Value(value.shape, value.maps, None, value.computed)
    for labels in value.maps:
        trace.lose(labels, call.module, "a view as a type of another size")
    return traced_result(call)


@RULES.rule("view_as_complex")
def _to_complex(trace: Trace, call: Call) -> Result:
    """Two numbers, along the last dimension, become one: they go together."""
    value: Value = call.args[0]
    for labels in value.on(len(value.shape) - 1):
        trace.coupling.couple(labels, labels[..., :1])
    return moved(value, lambda x: x[..., 0])


@RULES.rule("view_as_real")
def _to_real(_trace: Trace, call: Call) -> Result:
    """A number becomes two, along a last dimension."""
    return moved(call.args[0], lambda x: torch.stack([x, x], -1))


def _interleave(trace: Trace, labels: LabelMap) -> None:
    """Where a dimension of all heads comes before the next one, heads keep the same dimensions, so as to stay aligned.

    With heads outside, each may keep others, since the order of what is left is the same before and after merging.
    """
    inner = max(dims_of(labels))
    rows = labels.movedim(inner, -1).reshape(-1, labels.shape[inner])
    if any(torch.equal(heads, rows.T) for heads in trace.heads if len(heads) > 1):
        trace.coupling.couple(rows, rows[:, :1], across=True)


@RULES.rule("getitem")
def _getitem(_trace: Trace, call: Call) -> Result:
    result: Result = operator.getitem(*call.args)
    return result


@RULES.rule("index")
def _index(trace: Trace, call: Call) -> Result:
    """Picks by numbers; the labels that an indexed dimension changes with go along where the numbers are known."""
    value, indices = call.args
    known = [None if index is None else index.data for index in indices]

    def picked(x: torch.Tensor) -> torch.Tensor:
        return call.target(x, [None if index is None else index.to(x.device) for index in known])  # type: ignore[no-any-return]

    if any(index is not None and data is None for index, data in zip(indices, known, strict=True)):
        dims = {dim for dim, index in enumerate(indices) if index is not None}
        known = [None if index is None else torch.zeros(index.shape, dtype=torch.long) for index in indices]
        others = tuple(labels for labels in value.maps if not dims_of(labels) & dims)
        result = moved(replace(value, maps=others, data=None), picked)
        if result.shape != call.shape:  # a mask
            others = ()
        for labels in value.maps:
            if not any(labels is other for other in others):
                trace.coupling.fix(labels, f"{call.module}: it is indexed by computed numbers")
        return Value(call.shape, result.maps if others else (), None, True)
    return moved(value, picked)


@RULES.rule("embedding")
def _embedding(trace: Trace, call: Call) -> Result:
    """Rows of a table `[entries, width]` by their numbers: the entries stay, its columns are those of the result."""
    table: Value = call.args[0]
    trace.role(call.node.args[0], 1, "out")
    maps = []
    for labels in table.maps:
        if dims_of(labels) == {1}:
            maps.append(labels.reshape([1] * (len(call.shape) - 1) + [-1]))
        else:
            trace.coupling.fix(labels, f"{call.module}: its entries are looked up by their numbers")
    return Value(call.shape, tuple(maps), None, True)


def fix_picked(trace: Trace, call: Call, value: Value, result: Value) -> None:
    """Fixes the one label of a map that is left after elements have been picked: `result` is `value` moved."""
    for before, after in zip(value.maps, result.maps, strict=True):
        if dims_of(before) and not dims_of(after):
            trace.coupling.fix(after, f"{call.module}: {ONE}")
