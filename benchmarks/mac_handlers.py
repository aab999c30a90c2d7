"""How many multiply-accumulates one traced operation carries, for fvcore's analysis.

Counted are the products of tensors: convolutions, linears, matrix products, einsums, attention, recurrent cells.
`FREE` names what carries none by this convention: elementwise arithmetic, activations, normalisation, softmax,
pooling, interpolation, and the movement of data. An operation in neither table is reported, never taken for zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Handler = Callable[[Sequence[Any], Sequence[Any]], int]
"""Called with the traced inputs and outputs (`torch._C.Value`) of one operation; returns its MACs."""


def _shape(value: Any) -> list[int]:
    """The sizes of a traced tensor."""
    return list(value.type().sizes())


def _numel(value: Any) -> int:
    return math.prod(_shape(value))


def _linear(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    weight = _shape(inputs[1])  # [out, in], or [in] for a single output
    return _numel(inputs[0]) * (weight[0] if len(weight) == 2 else 1)


def _matmul(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    # from the output, because either side may be broadcast over the other's batch
    return _numel(outputs[0]) * _shape(inputs[0])[-1]


def _batched(first: int) -> Handler:
    """MACs of products of `[..., n, k]` (input number `first`) and `[..., k, m]` (the next), without broadcasting."""

    def handler(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
        return _numel(inputs[first]) * _shape(inputs[first + 1])[-1]

    return handler


def _matrix_vector(first: int) -> Handler:
    def handler(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
        return _numel(inputs[first])

    return handler


def _contraction(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """With a = m k, b = k n and out = m n elements, the product of all three is (m k n) squared."""
    return math.isqrt(_numel(inputs[0]) * _numel(inputs[1]) * _numel(outputs[0]))


def _convolution(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    transposed = bool(inputs[6].toIValue())
    # each output element (each input element where transposed) meets one filter [channels / groups, *kernel]
    return _numel(inputs[0] if transposed else outputs[0]) * math.prod(_shape(inputs[1])[1:])


def _plain_convolution(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    return _numel(outputs[0]) * math.prod(_shape(inputs[1])[1:])


def _attention(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """q k^T and its product with v, of shapes `[..., L, E]`, `[..., S, E]`, `[..., S, V]`; a mask saves nothing."""
    query, key, value = (_shape(tensor) for tensor in inputs[:3])
    return math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _self_or_cross_attention(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """The fused module of `nn.MultiheadAttention`: three projections, attention, the output projection."""
    (batch, length, width), source = _shape(inputs[0]), _shape(inputs[1])[1]
    projections = batch * width * width * (2 * length + 2 * source)
    return projections + 2 * batch * length * source * width


def _encoder_layer(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """The fused module of `nn.TransformerEncoderLayer`: self-attention and the two linears after it."""
    batch, length, width = _shape(inputs[0])
    attention = 4 * batch * length * width * width + 2 * batch * length * length * width
    return attention + batch * length * (_numel(inputs[14]) + _numel(inputs[16]))


def _recurrent(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """LSTM, GRU and plain cells: every weight matrix once for each step of each sequence."""
    steps = math.prod(_shape(inputs[0])[:-1])
    weights = next(list(value.node().inputs()) for value in inputs[2:] if value.node().kind() == "prim::ListConstruct")
    return steps * sum(_numel(weight) for weight in weights if len(_shape(weight)) == 2)


def _einsum(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    path = _integers(inputs[2]) if len(inputs) > 2 else []
    shapes = [_shape(value) for value in inputs[1].node().inputs()]
    return einsum_macs(str(inputs[0].toIValue()), shapes, path)


def _integers(value: Any) -> list[int]:
    node = value.node()
    if node.kind() == "prim::ListConstruct":
        return [int(item.toIValue()) for item in node.inputs()]
    return [int(item) for item in value.toIValue() or []]


def einsum_macs(equation: str, shapes: Sequence[Sequence[int]], path: Sequence[int] = ()) -> int:
    """The MACs of `torch.einsum`, contracted pair by pair: along `path` (flat, two positions a step) or left to right.

    A step costs the product of the sizes of all labels of its two operands; one without a sum is an elementwise
    product and costs nothing. Labels of one operand only that nobody needs later are summed away beforehand.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    longest = max(len(shape) - len(term.replace("...", "")) for term, shape in zip(terms, shapes, strict=True))
    dots = [f"<{place}>" for place in range(longest)]  # labels for the dimensions that an ellipsis stands for
    operands: list[dict[str, int]] = []
    for term, shape in zip(terms, shapes, strict=True):
        before, ellipsis, after = term.partition("...")
        covered = dots[longest - (len(shape) - len(before) - len(after)) :] if ellipsis else []
        operands.append(dict(zip([*before, *covered, *after], shape, strict=True)))
    if arrow:
        wanted = {*right.replace("...", ""), *(dots if "..." in right else ())}
    else:
        letters = "".join(terms)
        wanted = {*dots, *(letter for letter in letters if letter.isalpha() and letters.count(letter) == 1)}
    steps = list(zip(path[::2], path[1::2], strict=True)) or [(0, 1)] * (len(operands) - 1)
    macs = 0
    for first, second in steps:
        one, two = operands[first], operands[second]
        rest = [term for place, term in enumerate(operands) if place not in (first, second)]
        needed = wanted.union(*rest)
        one = {label: size for label, size in one.items() if label in needed or label in two}
        two = {label: size for label, size in two.items() if label in needed or label in one}
        union = {label: max(one.get(label, 1), two.get(label, 1)) for label in {**one, **two}}
        if any(label not in needed for label in union):
            macs += math.prod(union.values())
        made = {label: size for label, size in union.items() if label in needed}
        # torch puts the result in front on its left-to-right way and at the end on a given path
        operands = [*rest, made] if path else [made, *rest]
    return macs


HANDLERS: Mapping[str, Handler] = {
    "aten::_convolution": _convolution,
    "aten::_convolution_mode": _plain_convolution,
    "torchvision::deform_conv2d": _plain_convolution,
    "aten::linear": _linear,
    "aten::matmul": _matmul,
    "aten::linalg_matmul": _matmul,
    "aten::mm": _batched(0),
    "aten::bmm": _batched(0),
    "aten::addmm": _batched(1),
    "aten::baddbmm": _batched(1),
    "aten::addbmm": _batched(1),
    "aten::mv": _matrix_vector(0),
    "aten::addmv": _matrix_vector(1),
    "aten::dot": _contraction,
    "aten::vdot": _contraction,
    "aten::inner": _contraction,
    "aten::tensordot": _contraction,
    "aten::einsum": _einsum,
    "aten::scaled_dot_product_attention": _attention,
    "aten::_native_multi_head_attention": _self_or_cross_attention,
    "aten::_transformer_encoder_layer_fwd": _encoder_layer,
    "aten::lstm": _recurrent,
    "aten::gru": _recurrent,
    "aten::rnn_tanh": _recurrent,
    "aten::rnn_relu": _recurrent,
}

_ELEMENTWISE = """abs add addcdiv addcmul bernoulli bitwise_and bitwise_not bitwise_or ceil clamp clamp_max clamp_min
cos cumsum div eq erf exp expm1 floor floor_divide fmod ge gt isinf isnan le lerp log log1p log2 logical_and
logical_not logical_or lt masked_fill maximum minimum mul nan_to_num ne neg pow reciprocal remainder round rsqrt rsub
sigmoid sign sin sqrt square sub tanh true_divide trunc where __and__ __or__"""
_ACTIVATIONS = """celu dropout feature_dropout elu gelu glu hardshrink hardsigmoid hardswish hardtanh leaky_relu
log_sigmoid log_softmax mish prelu relu relu6 rrelu selu silu softmax softplus softshrink softsign threshold"""
_REDUCTIONS = """adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d
all amax amin any argmax argmin argsort avg_pool1d avg_pool2d avg_pool3d batch_norm cosine_similarity frobenius_norm
group_norm instance_norm layer_norm linalg_norm linalg_vector_norm logsumexp max max_pool1d max_pool2d max_pool3d mean
min norm normalize prod rms_norm sort std std_mean sum topk var var_mean"""
_MOVEMENT = """adaptive_max_pool3d alias arange as_strided broadcast_tensors broadcast_to cat channel_shuffle chunk
clone col2im concat constant_pad_nd contiguous copy copy_ detach diagonal embedding empty empty_like expand expand_as
eye fill flatten flip full full_like gather grid_sampler im2col index index_add index_put index_select item lift_fresh
linspace meshgrid movedim mT narrow native_channel_shuffle new_empty new_full new_ones new_zeros nonzero numpy_T
one_hot ones ones_like pad permute pixel_shuffle pixel_unshuffle rand rand_like randn reflection_pad1d
reflection_pad2d repeat repeat_interleave replication_pad1d replication_pad2d reshape reshape_as resolve_conj
resolve_neg roll scatter scatter_add select size slice split split_with_sizes squeeze stack swapaxes swapdims t T
take take_along_dim tensor_split tile to transpose tril triu type_as unbind unflatten unfold unsafe_chunk unsafe_split
unsqueeze upsample_bicubic2d upsample_bilinear2d upsample_linear1d upsample_nearest1d upsample_nearest2d
upsample_nearest_exact2d upsample_trilinear3d view view_as zero zeros zeros_like Bool Float Int IntImplicit
ScalarImplicit complex imag real view_as_complex view_as_real"""

FREE: frozenset[str] = frozenset(
    f"aten::{name}{place}"
    for name in f"{_ELEMENTWISE} {_ACTIVATIONS} {_REDUCTIONS} {_MOVEMENT}".split()
    for place in ("", "_")  # in-place forms end in an underscore
)
"""Operations without multiply-accumulates, by the convention above."""
