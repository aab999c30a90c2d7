"""Elementwise operations: elements that meet go together."""

from __future__ import annotations

from torch import fx

from secateur.pipeline.structure.graph.rules import Call, Result, Rules, traced_result
from secateur.pipeline.structure.graph.trace import Trace
from secateur.pipeline.structure.graph.unify import unify
from secateur.pipeline.structure.graph.value import Value, placed

RULES = Rules()
UNARY = (
    *("relu", "relu6", "gelu", "silu", "mish", "sigmoid", "tanh", "hardswish", "hardsigmoid", "hardtanh", "elu"),
    *("selu", "celu", "leaky_relu", "softplus", "exp", "log", "sqrt", "rsqrt", "reciprocal", "neg", "abs", "sin"),
    *("cos", "sign", "square", "log_sigmoid", "softsign", "erf", "logical_not", "bitwise_not", "log1p", "expm1"),
    *("round", "floor", "ceil", "hardshrink", "nan_to_num", "logit", "sinc", "isnan", "threshold", "prelu_kernel"),
    *("atan", "tan", "asin", "acos", "sinh", "cosh", "asinh", "acosh", "atanh", "trunc", "frac", "exp2", "log2"),
    *("log10", "angle", "real", "imag", "softshrink", "tanhshrink", "erfinv", "isinf", "isfinite", "sgn", "deg2rad"),
    *("rad2deg", "zeros_like", "ones_like", "full_like", "empty_like", "zero"),
)
RANDOM = ("rand_like", "randn_like", "bernoulli")
NARY = (
    *("add", "sub", "mul", "div", "pow", "maximum", "minimum", "where", "addcmul", "addcdiv", "clamp", "clamp_min"),
    *("clamp_max", "rsub", "lerp", "fmod", "remainder", "eq", "ne", "lt", "le", "gt", "ge", "atan2", "masked_fill"),
    *("true_divide", "logical_and", "logical_or", "bitwise_and", "floor_divide", "polar", "complex"),
)
PRODUCTS = ("mul", "div", "true_divide")
"""Those that leave a factor of zero at zero."""


@RULES.rule(*UNARY)
def _unary(_trace: Trace, call: Call) -> Result:
    value: Value = call.args[0]
    return Value(value.shape, value.maps, None, value.computed, value.expanded)


@RULES.rule(*RANDOM)
def _random(_trace: Trace, call: Call) -> Result:
    value: Value = call.args[0]
    return Value(value.shape, value.maps, None, value.computed)


@RULES.rule(*NARY)
def _nary(trace: Trace, call: Call) -> Result:
    """Elements that meet go together. A sum of a value and what was computed from it is a residual stream.

    Within a normalisation it is not: response normalisation adds what it scales to its input.
    """
    values = call.values()
    rank = len(call.shape)
    operands = [placed(value, range(rank - len(value.shape), rank), rank) for value in values]
    maps = unify(trace.coupling, operands, call.module, call.name.removesuffix("_") in PRODUCTS)
    nodes = [node for node in call.node.args if isinstance(node, fx.Node)]
    two = call.name.startswith("add") and len(nodes) == 2 and all(value.computed for value in values)
    if two and trace.normalises(call.module) is None and trace.ancestry.related(*nodes):
        for labels in maps:
            trace.coupling.mark(labels, "width")
    return Value(call.shape, maps, None, any(value.computed for value in values))


@RULES.rule("prelu")
def _prelu(trace: Trace, call: Call) -> Result:
    value, weight = call.args
    if weight.shape == (1,):
        return _unary(trace, call)
    operands = [value, placed(weight, [1], len(value.shape))]
    return Value(value.shape, unify(trace.coupling, operands, call.module), None, value.computed)


@RULES.rule("copy")
def _copy(trace: Trace, call: Call) -> Result:
    """A write into a part of a tensor: what is written goes with what is there; where only one has units they stay."""
    there, written = call.args[:2]
    rank = len(there.shape)
    for labels in () if there.maps else written.maps:
        trace.coupling.fix(labels, f"{call.module}: it is written into a tensor of fixed size")
    operands = [there, placed(written, range(rank - len(written.shape), rank), rank)]
    maps = unify(trace.coupling, operands, call.module)
    return Value(there.shape, maps, None, True)


@RULES.rule(
    *("contiguous", "alias", "clone", "detach", "to", "type_as", "dropout", "feature_dropout", "lift_fresh_copy"),
    *("_to_copy", "identity", "lift_fresh"),
)
def _same(_trace: Trace, call: Call) -> Result:
    value: Value = call.args[0]
    return value


@RULES.rule("new_empty", "new_zeros", "new_ones", "new_full")
def _new(_trace: Trace, call: Call) -> Result:
    """Numbers of a shape of their own."""
    return traced_result(call, computed=False)


@RULES.rule("_assert_tensor_metadata", "_assert_async", "_assert_scalar", "sym_constrain_range_for_size")
def _nothing(_trace: Trace, _call: Call) -> Result:
    return ()
