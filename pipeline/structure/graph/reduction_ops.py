"""Reductions: sums, statistics, and what mixes all elements of a dimension."""

from __future__ import annotations

from typing import Any

from secateur.pipeline.structure.graph.rules import Call, Result, Rules, traced_result
from secateur.pipeline.structure.graph.trace import Trace
from secateur.pipeline.structure.graph.unify import heads_left
from secateur.pipeline.structure.graph.value import LabelMap, Value, dims_of

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
        if _lies_across(labels, dims):
            trace.coupling.couple(labels, _first(labels, dims))
        elif dims_of(labels) & dims:
            trace.normalised(call.module, labels, dims)
    return _sum(trace, call)


@RULES.rule("sum", "linalg_vector_norm", "norm")
def _sum(trace: Trace, call: Call) -> Result:
    """Sums lose nothing when zeros go: what is reduced over a block, as a head's queries are, goes with the block."""
    value: Value = call.args[0]
    dims = _dims(call)
    left: list[LabelMap] = []
    for labels in value.maps:
        if not dims_of(labels) & dims:
            left.append(labels)
        elif _lies_across(labels, dims):
            first = _first(labels, dims)
            trace.coupling.couple(labels, first, across=True)
            left.append(first)
        elif dims_of(labels) - dims:
            left.append(trace.coupling.heads_of(labels, dims))
    if not _argument(call, "keepdim"):
        left = [x.reshape([size for dim, size in enumerate(x.shape) if dim not in dims]) for x in left]
    return traced_result(call, left, value.computed)


def _lies_across(labels: LabelMap, dims: set[int]) -> bool:
    """Whether labels change along some dimensions and along a later one, whose units are the same in all of these.

    So do the channels of branches that lie side by side, and the dimensions of heads.
    """
    return bool(dims_of(labels) & dims) and max(dims_of(labels)) not in dims


def _first(labels: LabelMap, dims: set[int]) -> LabelMap:
    """The labels of the first place along some dimensions."""
    return labels[tuple(slice(0, 1) if dim in dims else slice(None) for dim in range(labels.ndim))]


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
    """Operations that mix all elements of one dimension, none of which may be missing.

    Heads may go whole, and what is mixed across branches goes in all of them.
    """
    value: Value = call.args[0]
    dim = call.get(2 if call.name == "topk" else 1, "dim", -1) % len(value.shape)
    maps = [labels for labels in value.maps if labels.shape[dim] == 1]
    for labels in value.on(dim):
        if _lies_across(labels, {dim}):
            maps.append(_first(labels, {dim}))
            trace.coupling.couple(labels, maps[-1])
        elif len(dims_of(labels)) > 1:
            trace.coupling.piece(labels, f"{call.module}: {call.name} runs over all dimensions of a head")
            maps += heads_left(trace.coupling, labels, {dim}, maps)
        else:
            trace.coupling.fix(labels, f"{call.module}: {call.name} runs over it")
    return traced_result(call, maps, value.computed)
