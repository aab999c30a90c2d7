"""Elementwise operations, reductions and poolings."""

from __future__ import annotations

from collections.abc import Sequence

from torch import fx

from secateur.pipeline.structure.graph.tracer import Call, Result, Walk, plain, rule
from secateur.pipeline.structure.graph.unify import relate
from secateur.pipeline.structure.graph.value import Layer, Value, dims_of, placed

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
def _unary(_walk: Walk, call: Call) -> Result:
    value: Value = call.args[0]
    return Value(value.shape, value.layers, None, value.computed)


@rule(*NARY)
def _nary(walk: Walk, call: Call) -> Result:
    """Elements that meet go together. A sum of a value and what was computed from it is a residual stream.

    Within a normalisation it is not: response normalisation adds what it scales to its input.
    """
    values = call.values()
    rank = len(call.shape)
    operands = [placed(value, range(rank - len(value.shape), rank), rank) for value in values]
    layers = relate(walk.atoms, operands, call.module)
    nodes = [node for node in call.node.args if isinstance(node, fx.Node)]
    two = call.name.startswith("add") and len(nodes) == 2 and all(value.computed for value in values)
    if two and call.module not in walk.normalising and walk.residual(*nodes):
        for layer in layers:
            walk.atoms.mark(layer, "width")
    return Value(call.shape, layers, None, any(value.computed for value in values))


@rule("prelu")
def _prelu(walk: Walk, call: Call) -> Result:
    value, weight = call.args
    if weight.shape == (1,):
        return _unary(walk, call)
    operands = [value, placed(weight, [1], len(value.shape))]
    return Value(value.shape, relate(walk.atoms, operands, call.module), None, value.computed)


@rule("copy")
def _copy(walk: Walk, call: Call) -> Result:
    """A write into a part of a tensor: what is written and what is written to stay."""
    for value in call.values():
        for layer in value.layers:
            walk.atoms.fix(layer, f"{call.module}: it is written into a tensor of fixed size")
    return plain(call)


@rule("mean", "amax", "amin", "max", "min", "std", "var", "argmax", "prod", "logsumexp", "any", "all")
def _statistic(walk: Walk, call: Call) -> Result:
    if call.module in walk.normalising:
        value: Value = call.args[0]
        for layer in value.layers:
            walk.normalised(call.module, layer)
        return _reduce(walk, call, "")
    return _reduce(walk, call, "a statistic is taken over it")


@rule("sum", "linalg_vector_norm", "norm")
def _sum(walk: Walk, call: Call) -> Result:
    """Sums lose nothing when zeros go."""
    return _reduce(walk, call, "")


def _reduce(walk: Walk, call: Call, reason: str) -> Result:
    value: Value = call.args[0]
    place = 2 if call.name == "linalg_vector_norm" else 1
    given = call.get(place, "dim")
    keep = bool(call.get(place + 1, "keepdim", False))
    rank = len(value.shape)
    dims = {dim % rank for dim in ([given] if isinstance(given, int) else given or range(rank))}
    layers = []
    for layer in value.layers:
        if not dims_of(layer) & dims:
            left = layer if keep else layer.reshape([size for dim, size in enumerate(layer.shape) if dim not in dims])
            layers.append(left)
        elif reason:
            walk.atoms.fix(layer, f"{call.module}: {reason}")
    return plain(call, layers, value.computed)


@rule("softmax", "log_softmax", "cumsum", "cumprod", "sort", "topk", "_softmax")
def _along(walk: Walk, call: Call) -> Result:
    """Operations that mix all elements of one dimension, none of which may be missing."""
    value: Value = call.args[0]
    dim = call.get(2 if call.name == "topk" else 1, "dim", -1) % len(value.shape)
    for layer in value.on(dim):
        walk.atoms.fix(layer, f"{call.module}: {call.name} runs over it")
    return plain(call, [layer for layer in value.layers if layer.shape[dim] == 1], value.computed)


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
def _spatial(walk: Walk, call: Call) -> Result:
    """Resampling of the dimensions after the channels."""
    value: Value = call.args[0]
    spatial = {"1": 1, "2": 2, "3": 3}.get(next((c for c in call.name if c.isdigit()), "2"), 2)
    return plain(call, _outside(walk, call, value, spatial), value.computed)


def _outside(walk: Walk, call: Call, value: Value, spatial: int) -> Sequence[Layer]:
    rank = len(value.shape)
    dims = set(range(rank - spatial, rank))
    kept = []
    for layer in value.layers:
        if dims_of(layer) & dims:
            walk.atoms.fix(layer, f"{call.module}: {call.name} resamples it")
        else:
            kept.append(layer)
    return kept


@rule("_assert_tensor_metadata", "_assert_async", "_assert_scalar", "sym_size", "sym_constrain_range_for_size")
def _nothing(_walk: Walk, _call: Call) -> Result:
    return ()


@rule("wrap_with_autocast", "wrap_with_set_grad_enabled")
def _inside(walk: Walk, call: Call) -> Result:
    """A graph within the graph."""
    place = next(index for index, arg in enumerate(call.args) if isinstance(arg, fx.GraphModule))
    graph = call.args[place]
    holes = [node for node in graph.graph.nodes if node.op == "placeholder"]
    result: Result = walk.follow(graph, dict(zip(holes, call.args[place + 1 :], strict=True)), call.module)
    return result
