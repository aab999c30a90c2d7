"""Sums of products: linear layers, attention and other matrix products."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from secateur.benchmarks.mac_handlers import einsum_labels, einsum_products
from secateur.pipeline.structure.graph.products import note_products
from secateur.pipeline.structure.graph.rules import Call, Result, Rules, stays
from secateur.pipeline.structure.graph.trace import Trace
from secateur.pipeline.structure.graph.unify import contract, costs_of, summed_over, unify
from secateur.pipeline.structure.graph.value import Value, dims_of, moved, placed
from secateur.pipeline.structure.graph.weights import note_weight, with_bias
from secateur.pipeline.structure.layer_form import product_labels, tensordot_labels

RULES = Rules()
MATRIX_PRODUCTS = ("matmul", "bmm", "scaled_dot_product_attention")


@RULES.rule("linear")
def _linear(trace: Trace, call: Call) -> Result:
    x, weight = call.args[:2]
    bias = call.get(2, "bias")
    rank = len(x.shape)
    letters = [*range(rank - 1), rank]  # all but the last of x, then what is summed, then what is made
    operands = [placed(x, letters, rank + 1), placed(weight, [rank - 1, rank], rank + 1)]
    maps, costs = contract(trace.coupling, operands, {rank}, call.module)
    trace.costs.extend(costs)
    note_weight(trace, call, 1, 0)
    note_products(trace, call, call.node.args[:2], product_labels(rank, 2, linear=True))
    made = [labels.squeeze(rank) for labels in maps]
    result = Value(call.shape, tuple(made), None, x.computed)
    return with_bias(trace, call, result, bias, rank - 1)


@RULES.rule("matmul", "bmm", "mm")
def _matmul(trace: Trace, call: Call) -> Result:
    return _multiplied(trace, call, call.args[:2], call.node.args[:2])


@RULES.rule("addmm", "baddbmm")
def _added(trace: Trace, call: Call) -> Result:
    """A product that is added to something, as the mask of `nn.MultiheadAttention` is."""
    made = _multiplied(trace, call, call.args[1:3], call.node.args[1:3])
    to = call.args[0]
    if not isinstance(made, Value) or not isinstance(to, Value):
        return made
    rank = len(made.shape)
    aligned = placed(to, range(rank - len(to.shape), rank), rank)
    return Value(made.shape, unify(trace.coupling, [made, aligned], call.module), None, True)


def _multiplied(trace: Trace, call: Call, operands: Sequence[Value], nodes: Sequence[Any]) -> Result:
    one, two = operands
    if min(len(one.shape), len(two.shape)) < 2:
        return stays(trace, call, f"this {call.name}")
    rank = max(len(one.shape), len(two.shape)) + 1  # batch dimensions, then rows, sum, columns
    heads = one.computed and two.computed
    for node, value, reads, makes in zip(nodes, (one, two), (-1, -2), (-2, -1), strict=True):
        trace.role(node, len(value.shape) + reads, "in")
        trace.role(node, len(value.shape) + makes, "out")
    note_products(trace, call, nodes, product_labels(len(one.shape), len(two.shape)))
    factors = [
        placed(one, [*range(rank - 1 - len(one.shape), rank - 3), rank - 3, rank - 2], rank),
        placed(two, [*range(rank - 1 - len(two.shape), rank - 3), rank - 2, rank - 1], rank),
    ]
    return _product(trace, call, factors, rank - 2, heads)


def _product(trace: Trace, call: Call, operands: list[Value], summed: int, heads: bool) -> Result:
    """Rows times columns: labels that are summed over are queries and keys, those of rows or columns alone values.

    Values are columns of the second factor (`attn @ v`), or rows of the first (`v @ attn.T`).
    """
    if heads:
        _attended(trace, operands, {summed})
    maps, costs = contract(trace.coupling, operands, {summed}, call.module, any(value.computed for value in operands))
    trace.costs.extend(costs)
    made = [labels.squeeze(summed) for labels in maps]
    return Value(call.shape, tuple(made), None, any(operand.computed for operand in operands))


def _attended(trace: Trace, operands: list[Value], summed: set[int]) -> None:
    """Marks labels that are summed over as queries and keys, and those of one operand alone as values."""
    for operand in operands:
        others = [other for other in operands if other is not operand]
        for labels in operand.maps:
            inner = max(dims_of(labels), default=0)
            if dims_of(labels) & summed:
                trace.attends(labels, max(dims_of(labels) & summed), "query_key")
            elif dims_of(labels) and all(other.shape[inner] == 1 for other in others):
                trace.attends(labels, inner, "value")


@RULES.rule("scaled_dot_product_attention")
def _attention(trace: Trace, call: Call) -> Result:
    """Softmax(q k^T + mask) v; the logits are not kept, so that only heads and value dimensions are left."""
    q, k, v = call.args[:3]
    mask = call.get(3, "attn_mask")
    if call.kwargs.get("enable_gqa"):  # several heads of queries share one of keys and one of values
        k, v = (_for_each_head(x, q.shape[-3]) for x in (k, v))
    rank = len(q.shape) + 1
    batch = range(rank - 3)
    row, inner, column = rank - 3, rank - 2, rank - 1
    coupling = trace.coupling
    for value in (q, k):
        for labels in value.on(len(value.shape) - 1):
            trace.attends(labels, len(value.shape) - 1, "query_key")
    for labels in v.on(len(v.shape) - 1):
        trace.attends(labels, len(v.shape) - 1, "value")
    left = placed(q, [*batch, row, inner], rank)
    right = placed(k, [*batch, column, inner], rank)
    logits, costs = contract(coupling, [left, right], {inner}, call.module, heads=True)
    trace.costs.extend(costs)
    shape = (*q.shape[:-1], k.shape[-2])
    scores = Value(shape, tuple(labels.squeeze(inner) for labels in logits), None, True)
    if isinstance(mask, Value):
        aligned = placed(mask, range(len(shape) - len(mask.shape), len(shape)), len(shape))
        scores = Value(shape, unify(coupling, [scores, aligned], call.module), None, True)
    for labels in scores.on(len(shape) - 1):
        coupling.fix(labels, f"{call.module}: softmax runs over it")
    scores = Value(shape, tuple(labels for labels in scores.maps if labels.shape[-1] == 1), None, True)
    operands = [placed(scores, [*batch, row, inner], rank), placed(v, [*batch, inner, column], rank)]
    maps, costs = contract(coupling, operands, {inner}, call.module)
    trace.costs.extend(costs)
    return Value(call.shape, tuple(labels.squeeze(inner) for labels in maps), None, True)


def _for_each_head(x: Value, heads: int) -> Value:
    """Keys or values of a head for each head of the queries, which several have in common."""
    if x.shape[-3] == 1:
        return moved(x, lambda t: t.expand(*t.shape[:-3], heads, *t.shape[-2:]))
    return moved(x, lambda t: t.repeat_interleave(heads // t.shape[-3], -3))


@RULES.rule("einsum")
def _einsum(trace: Trace, call: Call) -> Result:
    """Any product in Einstein's notation; labels that come twice in one operand, a diagonal, stay as they are."""
    values = call.args[1]
    inputs, output = einsum_labels(call.args[0], [value.shape for value in values])
    if any(len(set(labels)) < len(labels) for labels in inputs):
        return stays(trace, call, f"this {call.name}")
    products = einsum_products(inputs, output, [value.shape for value in values], call.kwargs.get("path") or ())
    return _summed(trace, call, (values, _nodes(call.node.args[1])), inputs, output, products)


@RULES.rule("tensordot", "inner")
def _tensordot(trace: Trace, call: Call) -> Result:
    """A sum over some dimensions of both, over the last ones for `inner`; the others follow one another."""
    one, two = call.args[:2]
    first, second = call.args[2:4] or ([-1], [-1])
    *inputs, output = tensordot_labels(len(one.shape), len(two.shape), first, second)
    sizes = dict(zip([*inputs[0], *inputs[1]], [*one.shape, *two.shape], strict=True))
    return _summed(trace, call, ([one, two], call.node.args[:2]), inputs, output, [sizes])


@RULES.rule("bilinear")
def _bilinear(trace: Trace, call: Call) -> Result:
    """The sum over i and j of x1 `[..., i]`, the weight `[o, i, j]` and x2 `[..., j]`, and a bias `[o]`."""
    one, two, weight = call.args[:3]
    bias = call.get(3, "bias")
    rows = [f"<{place}>" for place in range(len(one.shape) - 1)]
    inputs, output = [[*rows, "i"], [*rows, "j"], ["o", "i", "j"]], [*rows, "o"]
    sizes = {**dict(zip(inputs[0], one.shape, strict=True)), **dict(zip(inputs[2], weight.shape, strict=True))}
    nodes = list(call.node.args[:3])
    result = _summed(trace, call, ([one, two, weight], nodes), inputs, output, [sizes])
    return with_bias(trace, call, result, bias, len(one.shape) - 1, 3)


def _summed(
    trace: Trace,
    call: Call,
    operands: tuple[Sequence[Value], Sequence[Any]],
    inputs: Sequence[Sequence[str]],
    output: Sequence[str],
    products: Sequence[Mapping[str, int]],
) -> Value:
    """A sum of products of operands (values, nodes) whose dimensions are called `inputs`, those of its result `output`.

    It costs the `products` of sizes.
    """
    values, nodes = operands
    every = [label for labels in inputs for label in labels]
    letters = [*output, *sorted(set(every) - set(output))]
    factors = [
        placed(value, [letters.index(letter) for letter in labels], len(letters))
        for value, labels in zip(values, inputs, strict=True)
    ]
    summed = set(range(len(output), len(letters)))
    for node, labels in zip(nodes, inputs, strict=True):
        for dim, letter in enumerate(labels):
            shared = every.count(letter) > 1
            if shared != (letter in output):  # neither a factor of each element, nor summed on its own
                trace.role(node, dim, "in" if shared else "out")
    if len(nodes) == 2:
        note_products(trace, call, nodes, (*inputs, output))
    meet = any(sum(factor.shape[dim] > 1 for factor in factors) > 1 for dim in summed)
    if meet and all(value.computed for value in values):
        _attended(trace, factors, summed)
    met = unify(trace.coupling, factors, call.module)
    maps = summed_over(trace.coupling, met, summed, any(value.computed for value in values), factors)
    for sizes in products:
        places = {letters.index(letter): size for letter, size in sizes.items()}
        within = tuple(labels for labels in met if dims_of(labels) <= places.keys())
        mapped = frozenset[int]().union(*map(dims_of, within))
        rest = math.prod(size for place, size in places.items() if place not in mapped)
        trace.costs.extend(costs_of(call.module, rest, within))
    kept = [labels.reshape(labels.shape[: len(output)]) for labels in maps]
    return Value(call.shape, tuple(kept), None, True)


def _nodes(argument: Any) -> list[Any]:
    """The nodes of an operation's argument that is a list of tensors."""
    return list(argument)
