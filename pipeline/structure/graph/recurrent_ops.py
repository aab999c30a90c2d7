"""Recurrent layers and cells: hidden units, whose rows come once for each gate, and which the next step reads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from secateur.pipeline.structure.graph.program import lengths
from secateur.pipeline.structure.graph.rules import Call, Result, Rules, stays
from secateur.pipeline.structure.graph.trace import Trace
from secateur.pipeline.structure.graph.value import Value, dims_of
from secateur.pipeline.structure.graph.weights import cost_along, couple_read, features, vector

RULES = Rules()
GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}
"""How many rows of the weights a hidden unit has: with all of them at zero it stays at zero from step to step."""
LAYER = "a recurrent layer"
STATE = "its first state is not made by the same units"


@RULES.rule(*GATES)
def _layers(trace: Trace, call: Call) -> Result:
    """Layers one upon the other, in both directions maybe; sequences that are packed are not followed.

    A module has one width, so that the same units of all its layers go.
    """
    if getattr(call.target, "_overloadname", "") != "input":
        return stays(trace, call, f"this {call.name}")
    x, state, weights, _, depth, _, _, both, _ = call.args
    nodes: Any = call.node.args[2]
    directions, gates = 1 + both, GATES[call.name]
    per = len(weights) // (depth * directions)
    hidden, made = _units(trace, weights[0].shape[0] // gates, weights[1].shape[1])
    read = features(trace, call, x, len(x.shape) - 1, LAYER)
    for number in range(depth * directions):
        if number and number % directions == 0:
            read = made.repeat(directions)
        own = slice(number * per, (number + 1) * per)
        _weights(trace, call, weights[own], nodes[own], (read, hidden, made), math.prod(x.shape[:-1]))
    _own(trace, call, nodes[0])
    _starts(trace, call, state, (made, hidden))
    return _results(call, (made.repeat(directions), made, hidden))


@RULES.rule(*(f"{name}_cell" for name in GATES))
def _cell(trace: Trace, call: Call) -> Result:
    """One step; the state that it returns is what the next one reads."""
    x, state, *weights = call.args
    weights = [weight for weight in weights if isinstance(weight, Value)]
    hidden, made = _units(trace, weights[1].shape[1], weights[1].shape[1])
    read = features(trace, call, x, len(x.shape) - 1, LAYER)
    nodes = list(call.node.args[2:])
    _weights(trace, call, weights, nodes, (read, hidden, made), math.prod(x.shape[:-1]))
    _own(trace, call, nodes[0])
    _starts(trace, call, state, (made, hidden))
    return _results(call, (made, hidden))


def _units(trace: Trace, hidden: int, made: int) -> tuple[Tensor, Tensor]:
    """Labels of the hidden units, and of what they are projected to, which are the same without a projection."""
    units = trace.coupling.fresh(hidden)
    return units, units if hidden == made else trace.coupling.fresh(made)


def _weights(
    trace: Trace,
    call: Call,
    weights: Sequence[Value],
    nodes: Sequence[Any],
    labels: tuple[Tensor, Tensor, Tensor],
    steps: int,
) -> None:
    """The weights of one cell: `[gates x hidden, read]`, `[gates x hidden, made]`, biases, `[made, hidden]`."""
    read, hidden, made = labels
    for place, (weight, node) in enumerate(zip(weights, nodes, strict=False)):
        projects = place > 1 and len(weight.shape) == 2
        rows = vector(weight, 0)
        trace.coupling.couple(rows.reshape(-1, len(made) if projects else len(hidden)), made if projects else hidden)
        trace.role(node, 0, "out")
        if len(weight.shape) == 2:
            columns = vector(weight, 1)
            couple_read(trace, call, columns, read if place == 0 else hidden if projects else made)
            trace.role(node, 1, "in")
            trace.costs.append(cost_along(call, steps, (rows, weight.shape[0]), (columns, weight.shape[1])))


def _own(trace: Trace, call: Call, node: Any) -> None:
    """Notes whose call reads the first weight, which meets what goes into the module."""
    if node in trace.names:
        trace.owners[trace.names[node]] = call.module
        trace.handed.add(trace.names[node])


def _starts(trace: Trace, call: Call, state: Any, labels: tuple[Tensor, Tensor]) -> None:
    """The states before the first step: at zero, or a value of each unit, such as those of the step before."""
    for value, units in zip(state if isinstance(state, (tuple, list)) else [state], labels, strict=False):
        if value.data is not None and not value.data.any():
            continue
        own = [found for found in value.maps if dims_of(found) == {len(value.shape) - 1}]
        for found in own:
            trace.coupling.couple(found.reshape(-1), units)
        for found in value.maps if own else (*value.maps, units):
            if not any(found is one for one in own):
                trace.coupling.fix(found, f"{call.module}: {STATE}")


def _results(call: Call, labels: Sequence[Tensor]) -> Result:
    """What is returned, each with the labels of its last dimension."""
    found = call.node.meta["val"]
    shapes = [lengths(part) for part in (found if isinstance(found, (tuple, list)) else [found])]
    values = []
    for shape, units in zip(shapes, labels, strict=False):
        maps = (units.reshape([*[1] * (len(shape) - 1), -1]),) if shape[-1] > 1 else ()
        values.append(Value(shape, maps, None, True))
    return tuple(values) if isinstance(found, (tuple, list)) else values[0]
