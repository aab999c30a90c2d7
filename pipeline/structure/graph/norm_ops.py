"""Normalisations: over single channels, over all units, over groups of them."""

from __future__ import annotations

from secateur.pipeline.structure.graph.rules import Call, Result, Rules
from secateur.pipeline.structure.graph.trace import Trace
from secateur.pipeline.structure.graph.unify import unify
from secateur.pipeline.structure.graph.value import Value, dims_of, placed

RULES = Rules()


@RULES.rule("batch_norm", "instance_norm", "native_batch_norm", "_native_batch_norm_legit_no_training")
def _batch(trace: Trace, call: Call) -> Result:
    """Each channel on its own, with its scale, shift, mean and variance."""
    x = call.args[0]
    rank = len(x.shape)
    operands = [x, *(placed(value, [1], rank) for value in call.args[1:5] if isinstance(value, Value))]
    maps = unify(trace.coupling, operands, call.module)
    if all(not isinstance(value, Value) for value in call.args[3:5]):  # statistics of this very batch
        for labels in maps:
            if dims_of(labels) - {1}:
                trace.coupling.fix(labels, f"{call.module}: a statistic is taken over it")
    return Value(x.shape, maps, None, x.computed)


@RULES.rule("layer_norm", "rms_norm")
def _layer(trace: Trace, call: Call) -> Result:
    """Over all units of the last dimensions: each that goes changes what the others become.

    Normalised head by head, all heads keep the same dimensions, since one module has one width.
    """
    x, shape = call.args[:2]
    rank = len(x.shape)
    normalised = set(range(rank - len(shape), rank))
    operands = [x]
    for value in (call.get(2, "weight"), call.get(3, "bias") if call.name == "layer_norm" else None):
        if isinstance(value, Value):
            operands.append(placed(value, sorted(normalised), rank))
    maps = unify(trace.coupling, operands, call.module)
    for labels in maps:
        if dims_of(labels) & normalised:
            trace.normalised(call.module, labels, normalised)
    return Value(x.shape, maps, None, x.computed)


@RULES.rule("group_norm")
def _group(trace: Trace, call: Call) -> Result:
    """Over groups of channels, which go as a whole; with one group it is a normalisation over all."""
    x, groups = call.args[:2]
    rank = len(x.shape)
    operands = [x]
    for value in (call.get(2, "weight"), call.get(3, "bias")):
        if isinstance(value, Value):
            operands.append(placed(value, [1], rank))
    maps = unify(trace.coupling, operands, call.module)
    for labels in maps:
        if dims_of(labels) - {1}:
            trace.coupling.fix(labels, f"{call.module}: a statistic is taken over it")
        elif labels.shape[1] > 1 and groups == 1:
            trace.normalised(call.module, labels, {1})
        elif labels.shape[1] > 1:
            rows = labels.reshape(groups, -1)
            trace.coupling.couple(rows, rows[:, :1])
    return Value(x.shape, maps, None, x.computed)
