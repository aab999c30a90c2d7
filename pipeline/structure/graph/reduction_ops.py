"""Reductions: sums, statistics, and what mixes all elements of a dimension."""

from __future__ import annotations

from secateur.pipeline.structure.graph.rules import Call, Result, Rules, traced_result
from secateur.pipeline.structure.graph.trace import Trace
from secateur.pipeline.structure.graph.value import Value, dims_of

RULES = Rules()


@RULES.rule("mean", "amax", "amin", "max", "min", "std", "var", "argmax", "prod", "logsumexp", "any", "all")
def _statistic(trace: Trace, call: Call) -> Result:
    if call.module in trace.normalising:
        value: Value = call.args[0]
        for labels in value.maps:
            trace.normalised(call.module, labels)
        return _reduce(trace, call, "")
    return _reduce(trace, call, "a statistic is taken over it")


@RULES.rule("sum", "linalg_vector_norm", "norm")
def _sum(trace: Trace, call: Call) -> Result:
    """Sums lose nothing when zeros go."""
    return _reduce(trace, call, "")


def _reduce(trace: Trace, call: Call, reason: str) -> Result:
    value: Value = call.args[0]
    place = 2 if call.name == "linalg_vector_norm" else 1
    given = call.get(place, "dim")
    keep = bool(call.get(place + 1, "keepdim", False))
    rank = len(value.shape)
    dims = {dim % rank for dim in ([given] if isinstance(given, int) else given or range(rank))}
    maps = []
    for labels in value.maps:
        if not dims_of(labels) & dims:
            shape = [size for dim, size in enumerate(labels.shape) if dim not in dims]
            maps.append(labels if keep else labels.reshape(shape))
        elif reason:
            trace.coupling.fix(labels, f"{call.module}: {reason}")
    return traced_result(call, maps, value.computed)


@RULES.rule("softmax", "log_softmax", "cumsum", "cumprod", "sort", "topk", "_softmax")
def _along(trace: Trace, call: Call) -> Result:
    """Operations that mix all elements of one dimension, none of which may be missing."""
    value: Value = call.args[0]
    dim = call.get(2 if call.name == "topk" else 1, "dim", -1) % len(value.shape)
    for labels in value.on(dim):
        trace.coupling.fix(labels, f"{call.module}: {call.name} runs over it")
    return traced_result(call, [labels for labels in value.maps if labels.shape[dim] == 1], value.computed)
