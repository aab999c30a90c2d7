"""Reductions: sums, statistics, and what mixes all elements of a dimension."""

from __future__ import annotations

from typing import Any

from secateur.pipeline.structure.graph.rules import Call, Result, Rules, traced_result
from secateur.pipeline.structure.graph.trace import Trace
from secateur.pipeline.structure.graph.unify import heads_left
from secateur.pipeline.structure.graph.value import Value, dims_of

RULES = Rules()


@RULES.rule(
    "mean",
    "amax",
    "amin",
    "max",
    "min",
    "std",
    "var",
    "std_mean",
    "var_mean",
    "argmax",
    "prod",
    "logsumexp",
    "any",
    "all",
)
def _statistic(trace: Trace, call: Call) -> Result:
    """What is taken over units counts those that are at zero too, unless a module normalises by it."""
    value: Value = call.args[0]
    dims = _dims(call)
    for labels in value.maps:
        if dims_of(labels) & dims:
            trace.normalised(call.module, labels, dims)
    return _sum(trace, call)


@RULES.rule("sum", "linalg_vector_norm", "norm")
def _sum(trace: Trace, call: Call) -> Result:
    """Sums lose nothing when zeros go."""
    value: Value = call.args[0]
    dims = _dims(call)
    keep = bool(_argument(call, "keepdim"))
    maps = []
    for labels in value.maps:
        if not dims_of(labels) & dims:
            shape = [size for dim, size in enumerate(labels.shape) if dim not in dims]
            maps.append(labels if keep else labels.reshape(shape))
        elif dims_of(labels) - dims and max(dims_of(labels)) in dims:
            # what is reduced over a block, as the length of a head's queries, goes with the block
            coarse = trace.coupling.heads_of(labels, dims)
            maps.append(
                coarse if keep else coarse.reshape([n for dim, n in enumerate(coarse.shape) if dim not in dims])
            )
    return traced_result(call, maps, value.computed)


def _dims(call: Call) -> set[int]:
    """The dimensions that an operation reduces."""
    rank = len(call.args[0].shape)
    given = _argument(call, "dim")
    return {dim % rank for dim in ([given] if isinstance(given, int) else given or range(rank))}


def _argument(call: Call, name: str) -> Any:
    """An argument by its name in the operation's schema, where its place differs: of `var` the third is another."""
    target: Any = call.target
    names = [argument.name for argument in target._schema.arguments]
    return call.get(names.index(name), name) if name in names else None


@RULES.rule("softmax", "log_softmax", "cumsum", "cumprod", "sort", "topk", "_softmax")
def _along(trace: Trace, call: Call) -> Result:
    """Operations that mix all elements of one dimension, none of which may be missing; heads may go whole."""
    value: Value = call.args[0]
    dim = call.get(2 if call.name == "topk" else 1, "dim", -1) % len(value.shape)
    maps = [labels for labels in value.maps if labels.shape[dim] == 1]
    for labels in value.on(dim):
        if len(dims_of(labels)) > 1 and dim == max(dims_of(labels)):
            trace.coupling.piece(labels, f"{call.module}: {call.name} runs over all dimensions of a head")
            maps += heads_left(trace.coupling, labels, {dim}, maps)
        else:
            trace.coupling.fix(labels, f"{call.module}: {call.name} runs over it")
    return traced_result(call, maps, value.computed)
