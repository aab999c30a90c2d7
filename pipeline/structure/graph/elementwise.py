"""Elementwise operations, reductions and poolings."""

from __future__ import annotations

from collections.abc import Sequence

from torch import fx

from secateur.pipeline.structure.graph.tracer import Call, Result, Tracer, plain, rule
from secateur.pipeline.structure.graph.unify import unify
from secateur.pipeline.structure.graph.value import LabelMap, Value, dims_of, placed

UNARY = (
    *("relu", "relu6", "gelu", "silu", "mish", "sigmoid", "tanh", "hardswish", "hardsigmoid", "hardtanh", "elu"),
    *("selu", "celu", "leaky_relu", "softplus", "exp", "log", "sqrt", "rsqrt", "reciprocal", "neg", "abs", "sin"),
    *("cos", "sign", "square", "log_sigmoid", "softsign", "erf", "logical_not", "bitwise_not", "log1p", "expm1"),
    *("round", "floor", "ceil", "hardshrink", "nan_to_num", "logit", "sinc", "isnan", "threshold", "prelu_kernel"),
)
NARY = (
    *("add", "sub", "mul", "div", "pow", "maximum", "minimum", "where", "addcmul", "addcdiv", "clamp", "clamp_min"),
    *("clamp_max", "rsub", "lerp", "fmod", "remainder", "eq", "ne", "lt", "le", "gt", "ge", "atan2", "masked_fill"),
    *("true_divide", "logical_and", "logical_or", "bitwise_and", "square", "floor_divide"),
)


@rule(*UNARY)
def _unary(_tracer: Tracer, call: Call) -> Result:
    value: Value = call.args[0]
    return Value(value.shape, value.maps, None, value.computed)


@rule(*NARY)
def _nary(tracer: Tracer, call: Call) -> Result:
    """Elements that meet go together. A sum of a value and what was computed from it is a residual stream.

    Within a normalisation it is not: response normalisation adds what it scales to its input.
    """
    values = call.values()
    rank = len(call.shape)
    operands = [placed(value, range(rank - len(value.shape), rank), rank) for value in values]
    maps = unify(tracer.coupling, operands, call.module)
    nodes = [node for node in call.node.args if isinstance(node, fx.Node)]
    two = call.name.startswith("add") and len(nodes) == 2 and all(value.computed for value in values)
    if two and call.module not in tracer.normalising and tracer.residual(*nodes):
        for labels in maps:
            tracer.coupling.mark(labels, "width")
    return Value(call.shape, maps, None, any(value.computed for value in values))


@rule("prelu")
def _prelu(tracer: Tracer, call: Call) -> Result:
    value, weight = call.args
    if weight.shape == (1,):
        return _unary(tracer, call)
    operands = [value, placed(weight, [1], len(value.shape))]
    return Value(value.shape, unify(tracer.coupling, operands, call.module), None, value.computed)


@rule("copy")
def _copy(tracer: Tracer, call: Call) -> Result:
    """A write into a part of a tensor: what is written and what is written to stay."""
    for value in call.values():
        for labels in value.maps:
            tracer.coupling.fix(labels, f"{call.module}: it is written into a tensor of fixed size")
    return plain(call)


@rule("mean", "amax", "amin", "max", "min", "std", "var", "argmax", "prod", "logsumexp", "any", "all")
def _statistic(tracer: Tracer, call: Call) -> Result:
    if call.module in tracer.normalising:
        value: Value = call.args[0]
        for labels in value.maps:
            tracer.normalised(call.module, labels)
        return _reduce(tracer, call, "")
    return _reduce(tracer, call, "a statistic is taken over it")


@rule("sum", "linalg_vector_norm", "norm")
def _sum(tracer: Tracer, call: Call) -> Result:
    """Sums lose nothing when zeros go."""
    return _reduce(tracer, call, "")


def _reduce(tracer: Tracer, call: Call, reason: str) -> Result:
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
            tracer.coupling.fix(labels, f"{call.module}: {reason}")
    return plain(call, maps, value.computed)


@rule("softmax", "log_softmax", "cumsum", "cumprod", "sort", "topk", "_softmax")
def _along(tracer: Tracer, call: Call) -> Result:
    """Operations that mix all elements of one dimension, none of which may be missing."""
    value: Value = call.args[0]
    dim = call.get(2 if call.name == "topk" else 1, "dim", -1) % len(value.shape)
    for labels in value.on(dim):
        tracer.coupling.fix(labels, f"{call.module}: {call.name} runs over it")
    return plain(call, [labels for labels in value.maps if labels.shape[dim] == 1], value.computed)


@rule(
    *("avg_pool1d", "avg_pool2d", "avg_pool3d", "max_pool1d", "max_pool2d", "max_pool2d_with_indices"),
    *("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool1d", "adaptive_max_pool2d", "col2im"),
    *("upsample_bilinear2d", "upsample_nearest2d", "upsample_bicubic2d", "_upsample_bicubic2d_aa"),
    *(
        "_upsample_bilinear2d_aa",
        "upsample_linear1d",
        "upsample_nearest1d",
        "grid_sampler",
        "_upsample_nearest_exact2d",
    ),
)
def _spatial(tracer: Tracer, call: Call) -> Result:
    """Resampling of the dimensions after the channels."""
    value: Value = call.args[0]
    spatial = {"1": 1, "2": 2, "3": 3}.get(next((c for c in call.name if c.isdigit()), "2"), 2)
    return plain(call, _outside(tracer, call, value, spatial), value.computed)


def _outside(tracer: Tracer, call: Call, value: Value, spatial: int) -> Sequence[LabelMap]:
    rank = len(value.shape)
    dims = set(range(rank - spatial, rank))
    kept = []
    for labels in value.maps:
        if dims_of(labels) & dims:
            tracer.coupling.fix(labels, f"{call.module}: {call.name} resamples it")
        else:
            kept.append(labels)
    return kept


@rule("_assert_tensor_metadata", "_assert_async", "_assert_scalar", "sym_size", "sym_constrain_range_for_size")
def _nothing(_tracer: Tracer, _call: Call) -> Result:
    return ()


@rule("wrap_with_autocast", "wrap_with_set_grad_enabled")
def _inside(tracer: Tracer, call: Call) -> Result:
    """A graph within the graph."""
    place = next(index for index, arg in enumerate(call.args) if isinstance(arg, fx.GraphModule))
    graph = call.args[place]
    holes = [node for node in graph.graph.nodes if node.op == "placeholder"]
    result: Result = tracer.follow(graph, dict(zip(holes, call.args[place + 1 :], strict=True)), call.module)
    return result
