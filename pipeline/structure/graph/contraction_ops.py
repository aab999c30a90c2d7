"""Sums of products: linear maps, convolutions, attention and other matrix products."""

from __future__ import annotations

import math

import torch
from torch import Tensor, fx

from secateur.pipeline.structure.graph.coupling import FIXED, Mark
from secateur.pipeline.structure.graph.tracer import Call, Result, Tracer, plain, rule
from secateur.pipeline.structure.graph.unify import Cost, contract, unify
from secateur.pipeline.structure.graph.value import Value, dims_of, placed
from secateur.pipeline.structure.module_attributes import drops_groups

INPUT = "it reads values that cannot be removed"


@rule("linear")
def _linear(tracer: Tracer, call: Call) -> Result:
    x, weight = call.args[:2]
    bias = call.get(2, "bias")
    rank = len(x.shape)
    letters = [*range(rank - 1), rank]  # all but the last of x, then what is summed, then what is made
    operands = [placed(x, letters, rank + 1), placed(weight, [rank - 1, rank], rank + 1)]
    maps, cost = contract(tracer.coupling, operands, {rank}, call.module)
    tracer.costs.append(cost)
    _weight(tracer, call, 1, 0)
    made = [labels.squeeze(rank) for labels in maps]
    result = Value(call.shape, tuple(made), None, x.computed)
    return _with_bias(tracer, call, result, bias, rank - 1)


@rule("matmul", "bmm", "mm")
def _matmul(tracer: Tracer, call: Call) -> Result:
    one, two = call.args
    if min(len(one.shape), len(two.shape)) < 2:
        return _stay(tracer, call)
    rank = max(len(one.shape), len(two.shape)) + 1  # batch dimensions, then rows, sum, columns
    heads = one.computed and two.computed
    operands = [
        placed(one, [*range(rank - 1 - len(one.shape), rank - 3), rank - 3, rank - 2], rank),
        placed(two, [*range(rank - 1 - len(two.shape), rank - 3), rank - 2, rank - 1], rank),
    ]
    return _product(tracer, call, operands, rank - 2, heads)


def _product(tracer: Tracer, call: Call, operands: list[Value], summed: int, heads: bool) -> Result:
    """Rows times columns: labels that are summed over are queries and keys, those of the columns values."""
    if heads:
        for operand in operands:
            for labels in operand.on(summed):
                _heads(tracer, labels, summed, "query_key")
        for labels in operands[1].on(summed + 1):
            if not dims_of(labels) & {summed}:
                _heads(tracer, labels, summed + 1, "value")
    maps, cost = contract(tracer.coupling, operands, {summed}, call.module, heads)
    tracer.costs.append(cost)
    made = [labels.squeeze(summed) for labels in maps]
    return Value(call.shape, tuple(made), None, any(operand.computed for operand in operands))


@rule("scaled_dot_product_attention")
def _attention(tracer: Tracer, call: Call) -> Result:
    """Softmax(q k^T + mask) v; the logits are not kept, so that only heads and value dimensions are left."""
    q, k, v = call.args[:3]
    mask = call.get(3, "attn_mask")
    rank = len(q.shape) + 1
    batch = range(rank - 3)
    row, inner, column = rank - 3, rank - 2, rank - 1
    coupling = tracer.coupling
    for value in (q, k):
        for labels in value.on(len(value.shape) - 1):
            _heads(tracer, labels, len(value.shape) - 1, "query_key")
    for labels in v.on(len(v.shape) - 1):
        _heads(tracer, labels, len(v.shape) - 1, "value")
    left = placed(q, [*batch, row, inner], rank)
    right = placed(k, [*batch, column, inner], rank)
    logits, cost = contract(coupling, [left, right], {inner}, call.module, heads=True)
    tracer.costs.append(cost)
    shape = (*q.shape[:-1], k.shape[-2])
    scores = Value(shape, tuple(labels.squeeze(inner) for labels in logits), None, True)
    if isinstance(mask, Value):
        aligned = placed(mask, range(len(shape) - len(mask.shape), len(shape)), len(shape))
        scores = Value(shape, unify(coupling, [scores, aligned], call.module), None, True)
    for labels in scores.on(len(shape) - 1):
        coupling.fix(labels, f"{call.module}: softmax runs over it")
    scores = Value(shape, tuple(labels for labels in scores.maps if labels.shape[-1] == 1), None, True)
    operands = [placed(scores, [*batch, row, inner], rank), placed(v, [*batch, inner, column], rank)]
    maps, cost = contract(coupling, operands, {inner}, call.module)
    tracer.costs.append(cost)
    return Value(call.shape, tuple(labels.squeeze(inner) for labels in maps), None, True)


def _heads(tracer: Tracer, labels: Tensor, dim: int, mark: Mark) -> None:
    """Notes the labels of queries, keys or values, one row for each head."""
    tracer.coupling.mark(labels, mark)
    tracer.heads.append(labels.movedim(dim, -1).reshape(-1, labels.shape[dim]))


@rule("einsum")
def _einsum(tracer: Tracer, call: Call) -> Result:
    """Any product in Einstein's notation, without ellipses."""
    equation, values = call.args[0].replace(" ", ""), call.args[1]
    if "." in equation or "->" not in equation:
        return _stay(tracer, call)
    inputs, output = equation.split("->")
    letters = sorted(set(equation) - set(",->"), key=lambda letter: (letter not in output, output.find(letter)))
    operands = [
        placed(value, [letters.index(letter) for letter in letters_of], len(letters))
        for value, letters_of in zip(values, inputs.split(","), strict=True)
    ]
    summed = {index for index, letter in enumerate(letters) if letter not in output}
    maps, cost = contract(tracer.coupling, operands, summed, call.module, heads=all(value.computed for value in values))
    tracer.costs.append(cost)
    kept = [labels.reshape(labels.shape[: len(output)]) for labels in maps]
    return Value(call.shape, tuple(kept), None, True)


@rule("conv1d", "conv2d", "conv3d")
def _convolution(tracer: Tracer, call: Call) -> Result:
    """Channels in, channels out; a grouped convolution keeps its groups equal (see `_grouped`)."""
    x, weight = call.args[:2]
    groups = call.get(6, "groups", 1)
    channel = len(x.shape) - len(weight.shape) + 1
    cin, (out, per) = _channels(tracer, call, x, channel), weight.shape[:2]
    wout, win = _vector(weight, 0), _vector(weight, 1)
    positions = math.prod(call.shape[channel + 1 :]) * call.shape[0]
    taps = math.prod(weight.shape[2:])
    if groups == 1:
        _read(tracer, call, win, cin)
    else:
        _grouped(tracer, call, cin.reshape(groups, per), wout.reshape(groups, out // groups), win)
    tracer.costs.append(_cost(call, positions * taps, (wout, out), (win, per)))
    _weight(tracer, call, None if groups > 1 and per == 1 else 1, 0 if groups == 1 or per > 1 else None)
    return _made(tracer, call, wout, channel)


@rule("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _transposed(tracer: Tracer, call: Call) -> Result:
    """The same with the weight's first two dimensions changed, `[in, out / groups, ...]`."""
    x, weight = call.args[:2]
    groups = call.get(6, "groups", 1)
    channel = len(x.shape) - len(weight.shape) + 1
    cin, (inside, per) = _channels(tracer, call, x, channel), weight.shape[:2]
    win, wout = _vector(weight, 0), _vector(weight, 1)
    positions = math.prod(x.shape[channel + 1 :]) * x.shape[0]
    tracer.costs.append(_cost(call, positions * math.prod(weight.shape[2:]), (win, inside), (wout, per)))
    if groups == 1:
        _read(tracer, call, win, cin)
        _weight(tracer, call, 0, 1)
        return _made(tracer, call, wout, channel)
    tracer.coupling.couple(win, cin)
    if per > 1:
        for found in (win, wout):
            tracer.coupling.fix(found, f"{call.module}: a grouped transposed convolution")
        return _made(tracer, call, torch.zeros(call.shape[channel], dtype=torch.int64), channel)
    return _made(tracer, call, win, channel)


def _grouped(tracer: Tracer, call: Call, cin: Tensor, wout: Tensor, win: Tensor) -> None:
    """`cin` `[groups, in]`, `wout` `[groups, out]`, `win` `[in]`: whole groups go, or the same channel of every group.

    Whole groups where there are many narrow ones, as in depthwise convolutions and ResNeXt.
    """
    groups, per = cin.shape
    if drops_groups(groups, per):
        tracer.coupling.couple(cin, cin[:, :1])
        tracer.coupling.couple(wout, cin[:, :1])
        tracer.coupling.fix(win, f"{call.module}: every group of the convolution has it")
    else:
        tracer.coupling.couple(cin, win[None])
        tracer.coupling.couple(wout, wout[:1])


def _channels(tracer: Tracer, call: Call, x: Value, channel: int) -> Tensor:
    """The labels of the channels of a convolution's input; what changes along space stays."""
    found = torch.full((x.shape[channel],), FIXED)
    for labels in x.maps:
        if dims_of(labels) == {channel}:
            found = labels.reshape(-1)
        else:
            tracer.coupling.fix(labels, f"{call.module}: a convolution runs over it")
    return found


def _read(tracer: Tracer, call: Call, win: Tensor, cin: Tensor) -> None:
    if bool((cin == FIXED).all()):
        tracer.coupling.fix(win, f"{call.module}: {INPUT}")
    else:
        tracer.coupling.couple(win, cin)


def _vector(weight: Value, dim: int) -> Tensor:
    """The labels of one dimension of a weight, `[length]`; computed weights have none."""
    for labels in weight.maps:
        if dims_of(labels) == {dim}:
            return labels.reshape(-1)
    return torch.full((weight.shape[dim],), FIXED)


def _cost(call: Call, factor: float, *axes: tuple[Tensor, int]) -> Cost:
    maps = []
    for labels, size in axes:
        if labels.numel() == size and size > 1:
            maps.append(labels)
        else:
            factor *= size
    return Cost(call.module, factor, tuple(maps))


def _made(tracer: Tracer, call: Call, wout: Tensor, channel: int) -> Result:
    shape = call.shape
    sizes = [1] * len(shape)
    sizes[channel] = shape[channel]
    maps = (wout.reshape(sizes),) if shape[channel] > 1 else ()
    return _with_bias(tracer, call, Value(shape, maps, None, True), call.get(2, "bias"), channel)


def _with_bias(tracer: Tracer, call: Call, result: Value, bias: Value | None, channel: int) -> Value:
    if isinstance(bias, Value):
        for labels in bias.maps:
            for made in result.on(channel):
                tracer.coupling.couple(labels.reshape(-1), made.reshape(-1))
        node = call.node.args[2] if len(call.node.args) > 2 else call.node.kwargs.get("bias")
        tracer.role(node, 0, "out")
    return result


def _weight(tracer: Tracer, call: Call, reads: int | None, makes: int | None) -> None:
    """Notes what the dimensions of a layer's weight do, and which module's call it is."""
    node = call.node.args[1]
    if not isinstance(node, fx.Node) or node not in tracer.names:
        return
    if reads is not None:
        tracer.role(node, reads, "in")
    if makes is not None:
        tracer.role(node, makes, "out")
    tracer.owners[tracer.names[node]] = call.module


def _stay(tracer: Tracer, call: Call) -> Result:
    for value in call.values():
        for labels in value.maps:
            tracer.coupling.fix(labels, f"{call.module}: secateur cannot follow units through this {call.name}")
    return plain(call)
