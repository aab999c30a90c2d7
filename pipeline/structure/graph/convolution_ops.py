"""Convolutions: channels in, channels out, and the groups that tie them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from torch import Tensor

from secateur.pipeline.structure.graph.rules import Call, Result, Rules, stays
from secateur.pipeline.structure.graph.trace import Trace
from secateur.pipeline.structure.graph.unify import Cost
from secateur.pipeline.structure.graph.value import Value, dims_of
from secateur.pipeline.structure.graph.weights import cost_along, couple_read, features, note_weight, vector, with_bias
from secateur.pipeline.structure.module_attributes import drops_groups

RULES = Rules()


@RULES.rule("conv1d", "conv2d", "conv3d")
def _convolution(trace: Trace, call: Call) -> Result:
    """Channels in, channels out; a grouped convolution keeps its groups equal (see `_grouped`)."""
    x, weight = call.args[:2]
    groups = call.get(6, "groups", 1)
    channel = len(x.shape) - len(weight.shape) + 1
    if groups == weight.shape[0] == x.shape[channel] and (heads := _heads(x, channel)) is not None:
        return _head_by_head(trace, call, heads, channel)
    beside = tuple(labels for labels in x.maps if _passes(call, dims_of(labels), channel))
    others = replace(x, maps=tuple(labels for labels in x.maps if not any(labels is one for one in beside)))
    cin, (out, per) = features(trace, call, others, channel, "a convolution"), weight.shape[:2]
    for labels in weight.maps:
        if len(dims_of(labels)) > 1:  # each tap is a unit of what computes it (mixed experts), and none of a channel
            trace.lose(labels, call.module, "a convolution whose weights it computes")
    wout, win = vector(weight, 0), vector(weight, 1)
    positions = math.prod(call.shape[channel + 1 :]) * call.shape[0] // math.prod(one.numel() for one in beside)
    taps = math.prod(weight.shape[2:])
    if groups == 1:
        couple_read(trace, call, win, cin)
    else:
        _grouped(trace, call, cin.reshape(groups, per), wout.reshape(groups, out // groups), win)
    cost = cost_along(call, positions * taps, (wout, out), (win, per))
    trace.costs.append(replace(cost, maps=(*cost.maps, *beside)))
    note_weight(trace, call, None if groups > 1 and per == 1 else 1, 0 if groups == 1 or per > 1 else None)
    made = _made(trace, call, wout, channel)
    return replace(made, maps=(*made.maps, *beside))


def _passes(call: Call, dims: frozenset[int], channel: int) -> bool:
    """Whether what changes along some dimensions changes alike in the result: each place along them is seen alone."""

    def along(index: int, name: str, dim: int, usual: int) -> Any:
        given = call.get(index, name, usual)
        return given[(dim - channel - 1) % len(given)] if isinstance(given, (list, tuple)) else given

    return channel not in dims and all(
        dim < channel
        or (
            call.args[1].shape[dim - channel + 1] == 1
            and along(3, "stride", dim, 1) == 1
            and along(4, "padding", dim, 0) in (0, "valid", "same")
        )
        for dim in dims
    )


@RULES.rule("deform_conv2d.default")
def _deformed(trace: Trace, call: Call) -> Result:
    """torchvision's convolution at places that are computed: these, and the factors of its taps, stay as they are."""
    x, weight, *computed = call.args[:4]
    if call.args[11:13] != (1, 1):
        return stays(trace, call, "a deformable convolution in groups")
    for value in computed:
        for labels in value.maps:
            trace.coupling.fix(labels, f"{call.module}: a deformable convolution has places or factors from it")
    wout, win = vector(weight, 0), vector(weight, 1)
    couple_read(trace, call, win, features(trace, call, x, 1, "a convolution"))
    positions = math.prod(call.shape[2:]) * call.shape[0] * math.prod(weight.shape[2:])
    trace.costs.append(cost_along(call, positions, (wout, weight.shape[0]), (win, weight.shape[1])))
    note_weight(trace, call, 1, 0)
    made = Value(call.shape, (wout.reshape(1, -1, 1, 1),) if len(wout) > 1 else (), None, True)
    return with_bias(trace, call, made, call.args[4], 1, 4)


@RULES.rule("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _transposed(trace: Trace, call: Call) -> Result:
    """The same with the weight's first two dimensions changed, `[in, out / groups, ...]`."""
    x, weight = call.args[:2]
    groups = call.get(6, "groups", 1)
    channel = len(x.shape) - len(weight.shape) + 1
    cin, (inside, per) = features(trace, call, x, channel, "a convolution"), weight.shape[:2]
    win, wout = vector(weight, 0), vector(weight, 1)
    positions = math.prod(x.shape[channel + 1 :]) * x.shape[0]
    trace.costs.append(cost_along(call, positions * math.prod(weight.shape[2:]), (win, inside), (wout, per)))
    if groups == 1:
        couple_read(trace, call, win, cin)
        note_weight(trace, call, 0, 1)
        return _made(trace, call, wout, channel)
    trace.coupling.couple(win, cin)
    if per > 1:
        note_weight(trace, call, 0, 1)
        for found in (win, wout):
            trace.coupling.fix(found, f"{call.module}: a grouped transposed convolution")
        return _made(trace, call, wout.repeat(groups), channel)
    return _made(trace, call, win, channel)


def _heads(x: Value, channel: int) -> Tensor | None:
    """The map of heads that lie along the batch and their dimensions along the channels; None for any other input."""
    found = x.on(channel)
    return found[0] if len(found) == 1 and len(x.maps) == 1 and dims_of(found[0]) == {channel - 1, channel} else None


def _head_by_head(trace: Trace, call: Call, heads: Tensor, channel: int) -> Result:
    """A depthwise convolution that all heads share: the same dimension of every head goes, or a head."""
    wout = vector(call.args[1], 0)
    made = _made(trace, call, wout, channel)
    trace.coupling.couple(heads, made.maps[0], across=True)
    taps = math.prod(call.args[1].shape[2:])
    trace.costs.append(Cost(call.module, math.prod(call.shape[channel + 1 :]) * taps, (heads,)))
    return Value(made.shape, (heads,), None, True)


def _grouped(trace: Trace, call: Call, cin: Tensor, wout: Tensor, win: Tensor) -> None:
    """`cin` `[groups, in]`, `wout` `[groups, out]`, `win` `[in]`: whole groups go, or the same channel of every group.

    Whole groups where there are many narrow ones, as in depthwise convolutions and ResNeXt. A group that is a part of a
    head goes with it.
    """
    groups, per = cin.shape
    if drops_groups(groups, per):
        trace.coupling.couple(cin, cin[:, :1])
        trace.coupling.couple(wout, cin[:, :1])
        trace.coupling.fix(win, f"{call.module}: every group of the convolution has it")
    else:
        trace.coupling.couple(cin, win[None], across=True)
        trace.coupling.couple(wout, wout[:1], across=True)
        if not trace.coupling.all_fixed(cin):
            trace.coupling.block(trace.coupling.heads_of(cin, {1}), wout)


def _made(trace: Trace, call: Call, wout: Tensor, channel: int) -> Value:
    shape = call.shape
    sizes = [1] * len(shape)
    sizes[channel] = shape[channel]
    maps = (wout.reshape(sizes),) if shape[channel] > 1 else ()
    return with_bias(trace, call, Value(shape, maps, None, True), call.get(2, "bias"), channel)
