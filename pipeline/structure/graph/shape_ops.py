"""Operations that only move elements: labels go through them as the elements do."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor

from secateur.pipeline.structure.graph.coupling import FIXED
from secateur.pipeline.structure.graph.tracer import Call, Result, Tracer, plain, rule
from secateur.pipeline.structure.graph.unify import unify
from secateur.pipeline.structure.graph.value import LabelMap, Value, compressed, dims_of, moved

ONE = "a forward function picks one of them by its number"


@rule(
    *("view", "reshape", "flatten", "unflatten", "permute", "transpose", "t", "movedim", "unsqueeze", "squeeze"),
    *("expand", "slice", "select", "flip", "roll", "repeat", "tile", "repeat_interleave", "unfold", "narrow"),
    *("pixel_unshuffle", "channel_shuffle", "swapaxes", "numpy_T", "matrix_H", "mT", "mH", "adjoint"),
    *("as_strided", "view_as", "diagonal"),
)
def _move(tracer: Tracer, call: Call) -> Result:
    """The same operation on labels; where only one label of a map is left, that one cannot go."""
    value = call.args[0]
    # labels need not lie in memory as the elements do
    target = torch.reshape if call.name == "view" and not isinstance(call.args[1], torch.dtype) else call.target
    result = moved(value, lambda x: target(x, *call.args[1:], **call.kwargs))
    for before, after in zip(value.maps, result.maps, strict=True):
        if dims_of(before) and not dims_of(after):
            tracer.coupling.fix(after, f"{call.module}: {ONE}")
        if len(dims_of(after)) < len(dims_of(before)):
            _interleave(tracer, before)
    return Value(result.shape, tuple(labels for labels in result.maps if dims_of(labels)), result.data, value.computed)


def _interleave(tracer: Tracer, labels: LabelMap) -> None:
    """Where a dimension of all heads comes before the next one, heads keep the same dimensions, so as to stay aligned.

    With heads outside, each may keep others, since the order of what is left is the same before and after merging.
    """
    inner = max(dims_of(labels))
    rows = labels.movedim(inner, -1).reshape(-1, labels.shape[inner])
    if any(torch.equal(heads, rows.T) for heads in tracer.heads if len(heads) > 1):
        tracer.coupling.couple(rows, rows[:, :1])


@rule(
    *("contiguous", "alias", "clone", "detach", "to", "type_as", "dropout", "feature_dropout", "lift_fresh_copy"),
    *("_to_copy", "identity", "lift_fresh"),
)
def _same(_tracer: Tracer, call: Call) -> Result:
    value: Value = call.args[0]
    return value


@rule("reshape_as", "expand_as")
def _like(tracer: Tracer, call: Call) -> Result:
    value, shape = call.args[0], call.args[1].shape
    result = moved(value, (lambda x: x.reshape(shape)) if call.name == "reshape_as" else (lambda x: x.expand(shape)))
    for before, after in zip(value.maps, result.maps, strict=True):
        if dims_of(before) and not dims_of(after):
            tracer.coupling.fix(after, f"{call.module}: {ONE}")
    return result


@rule("split", "split_with_sizes", "unbind", "tensor_split")
def _split(tracer: Tracer, call: Call) -> Result:
    return _parts(tracer, call)


@rule("chunk")
def _chunk(tracer: Tracer, call: Call) -> Result:
    """Equal parts: they must stay equal, so that the same position of each part goes."""
    parts = _parts(tracer, call)
    dim = call.get(2, "dim", 0) % len(call.args[0].shape)
    for part in parts[1:]:
        for one, two in zip(parts[0].maps, part.maps, strict=False):
            if one.shape[dim] > 1 or two.shape[dim] > 1:
                if one.shape == two.shape:
                    tracer.coupling.couple(one, two)
                else:
                    tracer.coupling.fix(one, f"{call.module}: parts of unequal size are taken from it")
                    tracer.coupling.fix(two, f"{call.module}: parts of unequal size are taken from it")
    return parts


def _parts(tracer: Tracer, call: Call) -> tuple[Any, ...]:
    value: Value = call.args[0]

    def cut(x: Tensor) -> tuple[Tensor, ...]:
        return tuple(call.target(x, *call.args[1:], **call.kwargs))

    count = len(cut(torch.empty(value.shape, device="meta")))
    results = []
    for index in range(count):
        part = moved(value, lambda x, index=index: cut(x)[index])  # type: ignore[misc]  # the index is bound
        for before, after in zip(value.maps, part.maps, strict=True):
            if dims_of(before) and not dims_of(after):
                tracer.coupling.fix(after, f"{call.module}: {ONE}")
        results.append(part)
    return tuple(results)


@rule("getitem")
def _getitem(_tracer: Tracer, call: Call) -> Result:
    result: Result = operator.getitem(*call.args)
    return result


@rule("index")
def _index(tracer: Tracer, call: Call) -> Result:
    """Picks by numbers that are known; the labels that the indexed dimension changes with go along."""
    value, indices = call.args
    known = [None if index is None else index.data for index in indices]
    if any(index is not None and data is None for index, data in zip(indices, known, strict=True)):
        dims = {dim for dim, index in enumerate(indices) if index is not None}
        for labels in value.maps:
            if dims_of(labels) & dims:
                tracer.coupling.fix(labels, f"{call.module}: it is indexed by computed numbers")
        return plain(call, [])
    return moved(value, lambda x: call.target(x, [None if i is None else i.to(x.device) for i in known]))


@rule("pad", "constant_pad_nd")
def _pad(tracer: Tracer, call: Call) -> Result:
    """New elements around: along a dimension with labels, they stay."""
    value = call.args[0]
    pads = list(call.args[1])
    shape = call.shape
    maps = []
    for labels in value.maps:
        own = [0] * len(pads)
        for place in range(0, len(pads), 2):
            if labels.shape[-1 - place // 2] > 1:
                own[place : place + 2] = pads[place : place + 2]
        maps.append(torch.nn.functional.pad(labels, own, value=FIXED))
    return Value(shape, tuple(maps), None, value.computed)


@rule("cat", "concat", "stack")
def _cat(tracer: Tracer, call: Call) -> Result:
    """Side by side along one dimension; along the others the parts go together."""
    values: list[Value] = [value for value in call.args[0] if value.shape != (0,)]
    dim = call.get(1, "dim", 0)
    if call.name == "stack":
        values = [moved(value, lambda x: x.unsqueeze(dim)) for value in values]
    rank = len(values[0].shape)
    dim %= rank
    for value in values:
        for labels in value.on(dim):
            if len(dims_of(labels)) > 1:
                tracer.coupling.fix(labels, f"{call.module}: several kinds of units are concatenated")
    # a part whose length along `dim` is one broadcasts there, as all parts do in what follows
    flat = [Value(_one(value.shape, dim), tuple(x for x in value.maps if x.shape[dim] == 1)) for value in values]
    maps = list(unify(tracer.coupling, flat, call.module))
    if any(value.on(dim) for value in values):
        parts = []
        for value in values:
            found = [labels for labels in value.on(dim) if len(dims_of(labels)) == 1]
            shape = _only(value.shape, dim)
            part = found[0] if found else torch.full(shape, FIXED)
            parts.append(part.expand(shape))
        maps.append(compressed(torch.cat(parts, dim)))
    return Value(call.shape, tuple(maps), None, any(value.computed for value in values))


def _one(shape: tuple[int, ...], dim: int) -> tuple[int, ...]:
    return (*shape[:dim], 1, *shape[dim + 1 :])


def _only(shape: tuple[int, ...], dim: int) -> tuple[int, ...]:
    return tuple(size if at == dim else 1 for at, size in enumerate(shape))


@rule("pixel_shuffle")
def _pixel_shuffle(tracer: Tracer, call: Call) -> Result:
    """`[..., C * r * r, H, W]` to `[..., C, H * r, W * r]`: the r * r channels of a new one go together."""
    value, factor = call.args
    channel = len(value.shape) - 3
    maps = []
    for labels in value.maps:
        if dims_of(labels) != {channel}:
            tracer.coupling.fix(labels, f"{call.module}: pixels are shuffled along it")
            continue
        rows = labels.reshape(-1, factor * factor)
        tracer.coupling.couple(rows, rows[:, :1])
        maps.append(rows[:, 0].reshape([-1 if dim == channel else 1 for dim in range(len(value.shape))]))
    return Value(call.shape, tuple(maps), None, value.computed)


@rule("im2col")
def _im2col(tracer: Tracer, call: Call) -> Result:
    """Patches of an image, `[B, C, H, W]` to `[B, C * k * k, L]`: each channel becomes k * k rows."""
    value: Value = call.args[0]
    taps = call.shape[1] // value.shape[1]
    maps = []
    for labels in value.maps:
        if dims_of(labels) == {1}:
            maps.append(labels.reshape(1, -1, 1).repeat_interleave(taps, dim=1))
        else:
            tracer.coupling.fix(labels, f"{call.module}: patches are cut along it")
    return Value(call.shape, tuple(maps), None, value.computed)
