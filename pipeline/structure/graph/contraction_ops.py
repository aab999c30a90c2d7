"""Sums of products: linear layers, convolutions, attention and other matrix products."""

from __future__ import annotations

import math

import torch
from torch import Tensor, fx

from secateur.pipeline.structure.graph.coupling import FIXED, Mark
from secateur.pipeline.structure.graph.tracer import Call, Result, Walk, plain, rule
from secateur.pipeline.structure.graph.unify import Cost, contract, relate
from secateur.pipeline.structure.graph.value import Value, dims_of, placed
from secateur.pipeline.structure.module_attributes import drops_groups

INPUT = "it reads values that cannot be removed"


@rule("linear")
def _linear(walk: Walk, call: Call) -> Result:
    x, weight = call.args[:2]
    bias = call.get(2, "bias")
    rank = len(x.shape)
    letters = [*range(rank - 1), rank]  # all but the last of x, then what is summed, then what is made
    operands = [placed(x, letters, rank + 1), placed(weight, [rank - 1, rank], rank + 1)]
    layers, cost = contract(walk.atoms, operands, {rank}, call.module)
    walk.costs.append(cost)
    _weight(walk, call, 1, 0)
    made = [layer.squeeze(rank) for layer in layers]
    result = Value(call.shape, tuple(made), None, x.computed)
    return _with_bias(walk, call, result, bias, rank - 1)


@rule("matmul", "bmm", "mm")
def _matmul(walk: Walk, call: Call) -> Result:
    one, two = call.args
    if min(len(one.shape), len(two.shape)) < 2:
        return _stay(walk, call)
    rank = max(len(one.shape), len(two.shape)) + 1  # batch dimensions, then rows, sum, columns
    heads = one.computed and two.computed
    operands = [
        placed(one, [*range(rank - 1 - len(one.shape), rank - 3), rank - 3, rank - 2], rank),
        placed(two, [*range(rank - 1 - len(two.shape), rank - 3), rank - 2, rank - 1], rank),
    ]
    return _product(walk, call, operands, rank - 2, heads)


def _product(walk: Walk, call: Call, operands: list[Value], summed: int, heads: bool) -> Result:
    """Rows times columns: atoms that are summed over are queries and keys, those of the columns values."""
    if heads:
        for operand in operands:
            for layer in operand.on(summed):
                _heads(walk, layer, summed, "query_key")
        for layer in operands[1].on(summed + 1):
            if not dims_of(layer) & {summed}:
                _heads(walk, layer, summed + 1, "value")
    layers, cost = contract(walk.atoms, operands, {summed}, call.module, heads)
    walk.costs.append(cost)
    made = [layer.squeeze(summed) for layer in layers]
    return Value(call.shape, tuple(made), None, any(operand.computed for operand in operands))


@rule("scaled_dot_product_attention")
def _attention(walk: Walk, call: Call) -> Result:
    """Softmax(q k^T + mask) v; the logits are not kept, so that only heads and value dimensions are left."""
    q, k, v = call.args[:3]
    mask = call.get(3, "attn_mask")
    rank = len(q.shape) + 1
    batch = range(rank - 3)
    row, inner, column = rank - 3, rank - 2, rank - 1
    atoms = walk.atoms
    for value in (q, k):
        for layer in value.on(len(value.shape) - 1):
            _heads(walk, layer, len(value.shape) - 1, "query_key")
    for layer in v.on(len(v.shape) - 1):
        _heads(walk, layer, len(v.shape) - 1, "value")
    left = placed(q, [*batch, row, inner], rank)
    right = placed(k, [*batch, column, inner], rank)
    logits, cost = contract(atoms, [left, right], {inner}, call.module, heads=True)
    walk.costs.append(cost)
    shape = (*q.shape[:-1], k.shape[-2])
    scores = Value(shape, tuple(layer.squeeze(inner) for layer in logits), None, True)
    if isinstance(mask, Value):
        aligned = placed(mask, range(len(shape) - len(mask.shape), len(shape)), len(shape))
        scores = Value(shape, relate(atoms, [scores, aligned], call.module), None, True)
    for layer in scores.on(len(shape) - 1):
        atoms.fix(layer, f"{call.module}: softmax runs over it")
    scores = Value(shape, tuple(layer for layer in scores.layers if layer.shape[-1] == 1), None, True)
    operands = [placed(scores, [*batch, row, inner], rank), placed(v, [*batch, inner, column], rank)]
    layers, cost = contract(atoms, operands, {inner}, call.module)
    walk.costs.append(cost)
    return Value(call.shape, tuple(layer.squeeze(inner) for layer in layers), None, True)


def _heads(walk: Walk, layer: Tensor, dim: int, mark: Mark) -> None:
    """Notes the atoms of queries, keys or values, one row for each head."""
    walk.atoms.mark(layer, mark)
    walk.heads.append(layer.movedim(dim, -1).reshape(-1, layer.shape[dim]))


@rule("einsum")
def _einsum(walk: Walk, call: Call) -> Result:
    """Any product in Einstein's notation, without ellipses."""
    equation, values = call.args[0].replace(" ", ""), call.args[1]
    if "." in equation or "->" not in equation:
        return _stay(walk, call)
    inputs, output = equation.split("->")
    letters = sorted(set(equation) - set(",->"), key=lambda letter: (letter not in output, output.find(letter)))
    operands = [
        placed(value, [letters.index(letter) for letter in letters_of], len(letters))
        for value, letters_of in zip(values, inputs.split(","), strict=True)
    ]
    summed = {index for index, letter in enumerate(letters) if letter not in output}
    layers, cost = contract(walk.atoms, operands, summed, call.module, heads=all(value.computed for value in values))
    walk.costs.append(cost)
    kept = [layer.reshape(layer.shape[: len(output)]) for layer in layers]
    return Value(call.shape, tuple(kept), None, True)


@rule("conv1d", "conv2d", "conv3d")
def _convolution(walk: Walk, call: Call) -> Result:
    """Channels in, channels out; a grouped convolution keeps its groups equal (see `_grouped`)."""
    x, weight = call.args[:2]
    groups = call.get(6, "groups", 1)
    channel = len(x.shape) - len(weight.shape) + 1
    cin, (out, per) = _channels(walk, call, x, channel), weight.shape[:2]
    wout, win = _vector(weight, 0), _vector(weight, 1)
    positions = math.prod(call.shape[channel + 1 :]) * call.shape[0]
    taps = math.prod(weight.shape[2:])
    if groups == 1:
        _read(walk, call, win, cin)
    else:
        _grouped(walk, call, cin.reshape(groups, per), wout.reshape(groups, out // groups), win)
    walk.costs.append(_cost(call, positions * taps, (wout, out), (win, per)))
    _weight(walk, call, None if groups > 1 and per == 1 else 1, 0 if groups == 1 or per > 1 else None)
    return _made(walk, call, wout, channel)


@rule("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _transposed(walk: Walk, call: Call) -> Result:
    """The same with the weight's first two dimensions changed, `[in, out / groups, ...]`."""
    x, weight = call.args[:2]
    groups = call.get(6, "groups", 1)
    channel = len(x.shape) - len(weight.shape) + 1
    cin, (inside, per) = _channels(walk, call, x, channel), weight.shape[:2]
    win, wout = _vector(weight, 0), _vector(weight, 1)
    positions = math.prod(x.shape[channel + 1 :]) * x.shape[0]
    walk.costs.append(_cost(call, positions * math.prod(weight.shape[2:]), (win, inside), (wout, per)))
    if groups == 1:
        _read(walk, call, win, cin)
        _weight(walk, call, 0, 1)
        return _made(walk, call, wout, channel)
    walk.atoms.unite(win, cin)
    if per > 1:
        for found in (win, wout):
            walk.atoms.fix(found, f"{call.module}: a grouped transposed convolution")
        return _made(walk, call, torch.zeros(call.shape[channel], dtype=torch.int64), channel)
    return _made(walk, call, win, channel)


def _grouped(walk: Walk, call: Call, cin: Tensor, wout: Tensor, win: Tensor) -> None:
    """`cin` `[groups, in]`, `wout` `[groups, out]`, `win` `[in]`: whole groups go, or the same channel of every group.

    Whole groups where there are many narrow ones, as in depthwise convolutions and ResNeXt.
    """
    groups, per = cin.shape
    if drops_groups(groups, per):
        walk.atoms.unite(cin, cin[:, :1])
        walk.atoms.unite(wout, cin[:, :1])
        walk.atoms.fix(win, f"{call.module}: every group of the convolution has it")
    else:
        walk.atoms.unite(cin, win[None])
        walk.atoms.unite(wout, wout[:1])


def _channels(walk: Walk, call: Call, x: Value, channel: int) -> Tensor:
    """The atoms of the channels of a convolution's input; what changes along space stays."""
    found = torch.full((x.shape[channel],), FIXED)
    for layer in x.layers:
        if dims_of(layer) == {channel}:
            found = layer.reshape(-1)
        else:
            walk.atoms.fix(layer, f"{call.module}: a convolution runs over it")
    return found


def _read(walk: Walk, call: Call, win: Tensor, cin: Tensor) -> None:
    if bool((cin == FIXED).all()):
        walk.atoms.fix(win, f"{call.module}: {INPUT}")
    else:
        walk.atoms.unite(win, cin)


def _vector(weight: Value, dim: int) -> Tensor:
    """The atoms of one dimension of a weight, `[length]`; computed weights have none."""
    for layer in weight.layers:
        if dims_of(layer) == {dim}:
            return layer.reshape(-1)
    return torch.full((weight.shape[dim],), FIXED)


def _cost(call: Call, factor: float, *axes: tuple[Tensor, int]) -> Cost:
    layers = []
    for atoms, size in axes:
        if atoms.numel() == size and size > 1:
            layers.append(atoms)
        else:
            factor *= size
    return Cost(call.module, factor, tuple(layers))


def _made(walk: Walk, call: Call, wout: Tensor, channel: int) -> Result:
    shape = call.shape
    sizes = [1] * len(shape)
    sizes[channel] = shape[channel]
    layers = (wout.reshape(sizes),) if shape[channel] > 1 else ()
    return _with_bias(walk, call, Value(shape, layers, None, True), call.get(2, "bias"), channel)


def _with_bias(walk: Walk, call: Call, result: Value, bias: Value | None, channel: int) -> Value:
    if isinstance(bias, Value):
        for layer in bias.layers:
            for made in result.on(channel):
                walk.atoms.unite(layer.reshape(-1), made.reshape(-1))
        node = call.node.args[2] if len(call.node.args) > 2 else call.node.kwargs.get("bias")
        walk.role(node, 0, "out")
    return result


def _weight(walk: Walk, call: Call, reads: int | None, makes: int | None) -> None:
    """Notes what the dimensions of a layer's weight do, and which module's call it is."""
    node = call.node.args[1]
    if not isinstance(node, fx.Node) or node not in walk.names:
        return
    if reads is not None:
        walk.role(node, reads, "in")
    if makes is not None:
        walk.role(node, makes, "out")
    walk.owners[walk.names[node]] = call.module


def _stay(walk: Walk, call: Call) -> Result:
    for value in call.values():
        for layer in value.layers:
            walk.atoms.fix(layer, f"{call.module}: secateur cannot follow units through this {call.name}")
    return plain(call)
