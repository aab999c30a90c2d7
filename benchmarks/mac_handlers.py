"""How many multiply-accumulates one traced operation carries: for fvcore's analysis, and for the terms of groups.

Counted are the products of tensors: convolutions, linears, matrix products, einsums, attention, recurrent cells,
distances and Fourier transforms.
`FREE` names what carries none by this convention: elementwise arithmetic, activations, normalisation, softmax,
pooling, interpolation, and the movement of data. An operation in neither table is reported, never taken for zero.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

Arguments = Sequence[Any]
"""What an operation is called with, in the order of its schema: sizes in place of tensors, lists of them, constants."""
Handler = Callable[[Arguments, Arguments], int]
"""Called with the arguments and the results of one operation; returns its MACs."""


def macs_of(operation: str, arguments: Arguments, results: Arguments) -> int | None:
    """The MACs of an operation `aten::mm`, in place or not; None of one that may carry some and has no handler."""
    name = operation.removesuffix("_")
    if operation in FREE or name in FREE:
        return 0
    return HANDLERS[name](arguments, results) if name in HANDLERS else None


def on_traced(handler: Handler) -> Handler:
    """A handler of the values `torch._C.Value` of a JIT trace."""
    return lambda inputs, outputs: handler([_plain(value) for value in inputs], [_plain(value) for value in outputs])


def _plain(value: Any) -> Any:
    """The sizes of a traced tensor, those of all tensors in a list, or a constant."""
    if value.node().kind() == "prim::ListConstruct":
        return [_plain(item) for item in value.node().inputs()]
    return value.type().sizes() if value.type().kind() == "TensorType" else value.toIValue()


def _linear(inputs: Arguments, outputs: Arguments) -> int:
    weight = inputs[1]  # [out, in], or [in] for a single output
    return math.prod(inputs[0]) * (weight[0] if len(weight) == 2 else 1)


def _bilinear(inputs: Arguments, outputs: Arguments) -> int:
    """x1 `[..., I]` and x2 `[..., J]` with a weight `[O, I, J]`, each element of which is met once for each row."""
    return int(math.prod(inputs[0][:-1]) * math.prod(inputs[2]))


def _vector_product(inputs: Arguments, outputs: Arguments) -> int:
    shapes = zip_longest(reversed(inputs[0]), reversed(inputs[1]), fillvalue=1)
    return int(math.prod(max(sizes) for sizes in shapes))


def _chain(inputs: Arguments, outputs: Arguments) -> int:
    """A product of several matrices, in the order that costs least, as torch does it; vectors may be at its ends."""
    first, *others = inputs[0]
    sizes = [1, *first] if len(first) == 1 else list(first)
    sizes += [size[1] if len(size) == 2 else 1 for size in others]

    @functools.cache
    def least(start: int, end: int) -> int:
        """The MACs of the product of the matrices from number `start` to before `end`."""
        middles = range(start + 1, end)
        ends = sizes[start] * sizes[end]
        return min((least(start, at) + least(at, end) + ends * sizes[at] for at in middles), default=0)

    return least(0, len(sizes) - 1)


def _matmul(inputs: Arguments, outputs: Arguments) -> int:
    # from the output, because either side may be broadcast over the other's batch
    return int(math.prod(outputs[0]) * inputs[0][-1])


def _batched(first: int) -> Handler:
    """MACs of products of `[..., n, k]` (input number `first`) and `[..., k, m]` (the next), without broadcasting."""

    def handler(inputs: Arguments, outputs: Arguments) -> int:
        return int(math.prod(inputs[first]) * inputs[first + 1][-1])

    return handler


def _matrix_vector(first: int) -> Handler:
    def handler(inputs: Arguments, outputs: Arguments) -> int:
        return math.prod(inputs[first])

    return handler


def _contraction(inputs: Arguments, outputs: Arguments) -> int:
    """With a = m k, b = k n and out = m n elements, the product of all three is (m k n) squared."""
    return math.isqrt(math.prod(inputs[0]) * math.prod(inputs[1]) * math.prod(outputs[0]))


def _convolution(inputs: Arguments, outputs: Arguments) -> int:
    transposed = bool(inputs[6])
    # each output element (each input element where transposed) meets one filter [channels / groups, *kernel]
    return int(math.prod(inputs[0] if transposed else outputs[0]) * math.prod(inputs[1][1:]))


def _plain_convolution(inputs: Arguments, outputs: Arguments) -> int:
    return int(math.prod(outputs[0]) * math.prod(inputs[1][1:]))


def _attention(inputs: Arguments, outputs: Arguments) -> int:
    """q k^T and its product with v, of shapes `[..., L, E]`, `[..., S, E]`, `[..., S, V]`; a mask saves nothing."""
    query, key, value = inputs[:3]
    return int(math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1]))


def _self_or_cross_attention(inputs: Arguments, outputs: Arguments) -> int:
    """The fused module of `nn.MultiheadAttention`: three projections, attention, the output projection."""
    (batch, length, width), source = inputs[0], inputs[1][1]
    projections = batch * width * width * (2 * length + 2 * source)
    return int(projections + 2 * batch * length * source * width)


def _encoder_layer(inputs: Arguments, outputs: Arguments) -> int:
    """The fused module of `nn.TransformerEncoderLayer`: self-attention and the two linears after it."""
    batch, length, width = inputs[0]
    attention = 4 * batch * length * width * width + 2 * batch * length * length * width
    return int(attention + batch * length * (math.prod(inputs[14]) + math.prod(inputs[16])))


def _distances(inputs: Arguments, outputs: Arguments) -> int:
    """Each coordinate of each pair of points once, as in the matrix product by which torch takes Euclidean ones."""
    return int(math.prod(outputs[0]) * inputs[0][-1])


def _power(inputs: Arguments, outputs: Arguments) -> int:
    """Products by repeated squaring, as torch does it; an inverse, of a negative power, counts as one more."""
    size, power = inputs[0][-1], abs(inputs[1])
    products = max(power.bit_length() + power.bit_count() - 2, 0) + (inputs[1] < 0)
    return int(math.prod(inputs[0]) * size * products)


def _fourier(to_real: bool = False, from_real: bool = False) -> Handler:
    """2.5 N log2 N for each transform of N complex numbers, and half of that for N real ones.

    That is 5 N log2 N FLOPs, by the convention of Frigo and Johnson, "The Design and Implementation of FFTW3"
    (Proceedings of the IEEE 93, 2005), whatever the algorithm.
    """

    def handler(inputs: Arguments, outputs: Arguments) -> int:
        shape, sizes, dims = list(inputs[0] if from_real else outputs[0]), inputs[1], inputs[2]
        if dims is None:
            dims = range(-len(sizes or shape), 0)
        places = [dims] if isinstance(dims, int) else list(dims)
        if from_real and sizes is not None:  # which are padded, or cut
            for place, size in zip(places, [sizes] if isinstance(sizes, int) else sizes, strict=True):
                shape[place] = size
        length = math.prod(shape[place] for place in places)
        macs: float = (1.25 if to_real or from_real else 2.5) * math.prod(shape) * math.log2(max(length, 1))
        return round(macs)

    return handler


def _recurrent(inputs: Arguments, outputs: Arguments) -> int:
    """LSTM, GRU and plain cells, of packed sequences too: every weight matrix once for each step of each sequence."""
    steps = math.prod(inputs[0][:-1])
    weights = [value for value in inputs if isinstance(value, list) and value and isinstance(value[0], Sequence)][-1]
    return int(steps * sum(math.prod(weight) for weight in weights if len(weight) == 2))


def _cell(inputs: Arguments, outputs: Arguments) -> int:
    """One step of a recurrent cell: x `[..., in]`, a state or a list of them, the weights of both."""
    state = inputs[1][0] if isinstance(inputs[1], list) else inputs[1]
    return int(math.prod(inputs[0]) * inputs[2][0] + math.prod(state) * inputs[3][0])


def _einsum(inputs: Arguments, outputs: Arguments) -> int:
    path = inputs[2] if len(inputs) > 2 else None
    return einsum_macs(inputs[0], inputs[1], path or [])


def einsum_labels(equation: str, shapes: Sequence[Sequence[int]]) -> tuple[list[list[str]], list[str]]:
    """The labels of each operand's dimensions and of the result's; those of an ellipsis are `<0>`, `<1>`, ..."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    longest = max(len(shape) - len(term.replace("...", "")) for term, shape in zip(terms, shapes, strict=True))
    dots = [f"<{place}>" for place in range(longest)]
    operands = []
    for term, shape in zip(terms, shapes, strict=True):
        before, ellipsis, after = term.partition("...")
        covered = dots[longest - (len(shape) - len(before) - len(after)) :] if ellipsis else []
        operands.append([*before, *covered, *after])
    if not arrow:
        letters = "".join(terms)
        once = sorted(letter for letter in letters if letter.isalpha() and letters.count(letter) == 1)
        return operands, [*(dots if "..." in left else ()), *once]
    before, ellipsis, after = right.partition("...")
    return operands, [*before, *(dots if ellipsis else ()), *after]


def einsum_products(
    operands: Sequence[Sequence[str]], output: Sequence[str], shapes: Sequence[Sequence[int]], path: Sequence[int] = ()
) -> list[dict[str, int]]:
    """The sizes by label of each product that `torch.einsum` sums over, contracted pair by pair.

    The pairs go along `path` (flat, two positions a step) or left to right. A step costs the product of the sizes;
    one without a sum is an elementwise product and is left out. Labels of one operand only that nobody needs later
    are summed away beforehand.
    """
    left = [dict(zip(labels, shape, strict=True)) for labels, shape in zip(operands, shapes, strict=True)]
    products = []
    for first, second in list(zip(path[::2], path[1::2], strict=True)) or [(0, 1)] * (len(left) - 1):
        one, two = left[first], left[second]
        rest = [term for place, term in enumerate(left) if place not in (first, second)]
        needed = set(output).union(*rest)
        one = {label: size for label, size in one.items() if label in needed or label in two}
        two = {label: size for label, size in two.items() if label in needed or label in one}
        union = {label: max(one.get(label, 1), two.get(label, 1)) for label in {**one, **two}}
        if any(label not in needed for label in union):
            products.append(union)
        made = {label: size for label, size in union.items() if label in needed}
        # torch puts the result in front on its left-to-right way and at the end on a given path
        left = [*rest, made] if path else [made, *rest]
    return products


def einsum_macs(equation: str, shapes: Sequence[Sequence[int]], path: Sequence[int] = ()) -> int:
    """The MACs of `torch.einsum`, contracted as in `einsum_products`."""
    operands, output = einsum_labels(equation, shapes)
    return sum(math.prod(sizes.values()) for sizes in einsum_products(operands, output, shapes, path))


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
    "aten::linalg_vecdot": _vector_product,
    "aten::linalg_multi_dot": _chain,
    "aten::chain_matmul": _chain,
    "aten::bilinear": _bilinear,
    "aten::einsum": _einsum,
    "aten::scaled_dot_product_attention": _attention,
    "aten::_native_multi_head_attention": _self_or_cross_attention,
    "aten::_transformer_encoder_layer_fwd": _encoder_layer,
    "aten::cdist": _distances,
    "aten::linalg_matrix_power": _power,
    "aten::matrix_power": _power,
    **{f"aten::fft_{name}{dims}": _fourier() for name in ("fft", "ifft") for dims in ("", "2", "n")},
    **{f"aten::fft_rfft{dims}": _fourier(from_real=True) for dims in ("", "2", "n")},
    **{f"aten::fft_irfft{dims}": _fourier(to_real=True) for dims in ("", "2", "n")},
    "aten::lstm": _recurrent,
    "aten::gru": _recurrent,
    "aten::rnn_tanh": _recurrent,
    "aten::rnn_relu": _recurrent,
    "aten::lstm_cell": _cell,
    "aten::gru_cell": _cell,
    "aten::rnn_tanh_cell": _cell,
    "aten::rnn_relu_cell": _cell,
}

_ELEMENTWISE = """abs add addcdiv addcmul addr bernoulli bitwise_and bitwise_not bitwise_or ceil clamp clamp_max
clamp_min cos cross cumsum div eq erf exp expm1 floor floor_divide fmod ge ger gt isinf isnan kron le lerp linalg_cross
log log1p log2 logical_and logical_not logical_or lt masked_fill maximum minimum mul nan_to_num ne neg outer pow
reciprocal remainder round rsqrt rsub sigmoid sign sin sqrt square sub tanh true_divide trunc where __and__ __or__"""
_ACTIVATIONS = """celu dropout feature_dropout elu gelu glu hardshrink hardsigmoid hardswish hardtanh leaky_relu
log_sigmoid log_softmax mish prelu relu relu6 rrelu selu silu softmax softplus softshrink softsign threshold"""
_REDUCTIONS = """adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d all
amax amin any argmax argmin argsort avg_pool1d avg_pool2d avg_pool3d batch_norm cosine_similarity frobenius_norm
group_norm instance_norm layer_norm linalg_norm linalg_vector_norm logsumexp max max_pool1d max_pool1d_with_indices
max_pool2d max_pool2d_with_indices max_pool3d max_pool3d_with_indices mean median min nanquantile norm normalize prod
quantile rms_norm sort std std_mean sum topk var var_mean"""
_MOVEMENT = """adaptive_max_pool3d alias arange as_strided broadcast_tensors broadcast_to cat channel_shuffle chunk
clone col2im concat constant_pad_nd contiguous copy copy_ detach diagonal embedding embedding_bag empty empty_like
expand expand_as eye fft_fftshift fft_ifftshift fill flatten flip full full_like gather grid_sampler im2col index
index_add index_put index_select item lift_fresh linspace max_unpool2d max_unpool3d meshgrid movedim mT narrow
native_channel_shuffle new_empty new_full new_ones new_zeros nonzero numel numpy_T one_hot ones ones_like pad permute
pixel_shuffle pixel_unshuffle rand rand_like randn reflection_pad1d reflection_pad2d repeat repeat_interleave
replication_pad1d replication_pad2d reshape reshape_as resolve_conj resolve_neg roll scatter scatter_add select size
slice split split_with_sizes squeeze stack swapaxes swapdims t T take take_along_dim tensor_split tile to transpose tril
triu type_as unbind unflatten unfold unsafe_chunk unsafe_split unsqueeze upsample_bicubic2d upsample_bilinear2d
upsample_linear1d upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_nearest_exact2d upsample_trilinear3d
view view_as zero zeros zeros_like Bool Float Int IntImplicit ScalarImplicit complex imag real view_as_complex
view_as_real"""

FREE: frozenset[str] = frozenset(
    f"aten::{name}{place}"
    for name in f"{_ELEMENTWISE} {_ACTIVATIONS} {_REDUCTIONS} {_MOVEMENT}".split()
    for place in ("", "_")  # in-place forms end in an underscore
)
"""Operations without multiply-accumulates, by the convention above."""
