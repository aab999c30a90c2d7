"""How each torch operation takes part in the propagation of relevance, looked up by the function itself.

What is not in the table keeps its own gradient: sums, views, pooling, ReLU and its leaky kin are homogeneous, so
that gradient x input conserves relevance.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from secateur.pipeline.scores.lrp.attention import Softmax, scaled_dot_product
from secateur.pipeline.scores.lrp.gradients import identity, layer_normalised, shared, standardised
from secateur.pipeline.statistics.functional_layers import MULTI_HEAD
from secateur.pipeline.statistics.weight_products import LayerCall, by_parameter

Arguments = tuple[Any, ...]
Keywords = dict[str, Any]
Function = Callable[..., Any]


class Mode(AbstractContextManager[Any, Any], Protocol):
    """What the operations need of the mode that calls them: its softmax rule, and two kinds of layers.

    Opened again it sees what a function computes inside.
    """

    softmax: Softmax

    def weighted(self, func: Function, args: Arguments, kwargs: Keywords) -> Tensor:
        """A convolution or linear layer."""

    def normalised(self, func: Function, args: Arguments, kwargs: Keywords) -> Tensor:
        """A batch normalisation."""


Step = Callable[[Mode, Function, Arguments, Keywords], Any]


def _weighted(mode: Mode, func: Function, args: Arguments, kwargs: Keywords) -> Any:
    return mode.weighted(func, args, kwargs)


def _batch_norm(mode: Mode, func: Function, args: Arguments, kwargs: Keywords) -> Any:
    return mode.normalised(func, args, kwargs)


def _softmax(mode: Mode, func: Function, args: Arguments, kwargs: Keywords) -> Any:
    x = args[0] if args else kwargs["input"]
    dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
    dtype = kwargs.get("dtype")
    if not x.requires_grad or not isinstance(dim, int):
        return func(*args, **kwargs)
    return mode.softmax(x if dtype is None else x.to(dtype), dim)


def _activation(mode: Mode, func: Function, args: Arguments, kwargs: Keywords) -> Any:
    x, rest = (args[0], args[1:]) if args else (kwargs["input"], ())
    kwargs = {key: value for key, value in kwargs.items() if key != "input"}
    in_place = kwargs.get("inplace") or any(value is True for value in rest) or func.__name__.endswith("_")

    def function(values: Tensor) -> Tensor:
        result: Tensor = func(values.clone() if in_place else values, *rest, **kwargs)
        return result

    return identity(function, x) if x.requires_grad else function(x)


def _homogeneous(mode: Mode, func: Function, args: Arguments, kwargs: Keywords) -> Any:
    """ReLU: its gradient is the identity rule; only never in place, where the rules have kept the values."""
    return torch.relu(args[0] if args else kwargs["input"])


def _as_layer(mode: Mode, call: LayerCall) -> Tensor:
    """A product by a weight: the rule is that of a linear layer."""
    return call.run(lambda x, weight, bias: mode.weighted(F.linear, (x, weight, bias), {}))


def _added(mode: Mode, func: Function, args: Arguments, kwargs: Keywords) -> Any:
    """Something plus a product, as the mask of attention and its scores."""
    if call := by_parameter(func, args, kwargs):
        return _as_layer(mode, call)
    beta, alpha = kwargs.get("beta", 1), kwargs.get("alpha", 1)
    return beta * args[0] + alpha * shared(torch.matmul, *args[1:3])


def _product(function: Function) -> Step:
    def step(mode: Mode, func: Function, args: Arguments, kwargs: Keywords) -> Any:
        if call := by_parameter(func, args, kwargs):
            return _as_layer(mode, call)
        factors = args[:2] if len(args) > 1 else (args[0], kwargs.get("other", kwargs.get("mat2")))
        if all(isinstance(factor, Tensor) for factor in factors):
            return shared(function, *factors)
        return function(*factors)

    return step


def _einsum(mode: Mode, func: Function, args: Arguments, kwargs: Keywords) -> Any:
    if call := by_parameter(func, args, kwargs):
        return _as_layer(mode, call)
    operands = args[1] if len(args) == 2 and isinstance(args[1], list | tuple) else args[1:]
    return shared(lambda *factors: func(args[0], *factors), *operands)


def _tensordot(mode: Mode, func: Function, args: Arguments, kwargs: Keywords) -> Any:
    if call := by_parameter(func, args, kwargs):
        return _as_layer(mode, call)
    return shared(lambda one, two: func(one, two, *args[2:], **kwargs), *args[:2])


def _quotient(mode: Mode, func: Function, args: Arguments, kwargs: Keywords) -> Any:
    """The denominator counts as a constant, as the standard deviation of a normalisation does."""
    above, below = args[0], args[1] if len(args) > 1 else kwargs["other"]
    below = below.detach() if isinstance(below, Tensor) else below
    if rounding := kwargs.get("rounding_mode"):
        return torch.div(above, below, rounding_mode=rounding)
    return above / below


def _constant(mode: Mode, func: Function, args: Arguments, kwargs: Keywords) -> Any:
    return func(*args, **kwargs).detach()


def _out_of_place(function: Function) -> Step:
    def step(mode: Mode, func: Function, args: Arguments, kwargs: Keywords) -> Any:
        return function(*args, **kwargs)

    return step


def _layer_norm(mode: Mode, func: Function, args: Arguments, kwargs: Keywords) -> Any:
    given = {**dict(zip(("input", "normalized_shape", "weight", "bias", "eps"), args, strict=False)), **kwargs}
    x = given["input"]
    if not x.requires_grad:
        return func(*args, **kwargs)
    shape = tuple(given["normalized_shape"])
    return layer_normalised(x, shape, given.get("weight"), given.get("bias"), given.get("eps", 1e-5))


def _rms_norm(mode: Mode, func: Function, args: Arguments, kwargs: Keywords) -> Any:
    given = {**dict(zip(("input", "normalized_shape", "weight", "eps"), args, strict=False)), **kwargs}
    x, eps = given["input"], given.get("eps")
    if not x.requires_grad:
        return func(*args, **kwargs)
    dims = tuple(range(-len(given["normalized_shape"]), 0))
    y = standardised(x, dims, torch.finfo(x.dtype).eps if eps is None else eps, centred=False)
    return _affine(y, given.get("weight"), None)


def _group_norm(mode: Mode, func: Function, args: Arguments, kwargs: Keywords) -> Any:
    given = {**dict(zip(("input", "num_groups", "weight", "bias", "eps"), args, strict=False)), **kwargs}
    x = given["input"]
    if not x.requires_grad:
        return func(*args, **kwargs)
    grouped = x.reshape(x.shape[0], given["num_groups"], -1)
    y = standardised(grouped, (-1,), given.get("eps", 1e-5)).reshape(x.shape)
    channels = (-1, *[1] * (x.ndim - 2))
    weight, bias = (
        None if value is None else value.reshape(channels) for value in (given.get("weight"), given.get("bias"))
    )
    return _affine(y, weight, bias)


def _unit_length(mode: Mode, func: Function, args: Arguments, kwargs: Keywords) -> Any:
    """F.normalize: the length counts as a constant."""
    given = {**dict(zip(("input", "p", "dim", "eps"), args, strict=False)), **kwargs}
    x = given["input"]
    length = torch.linalg.vector_norm(x.detach(), given.get("p", 2.0), given.get("dim", 1), keepdim=True)
    return x / length.clamp_min(given.get("eps", 1e-12))


def _affine(y: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def _scaled_dot_product(mode: Mode, func: Function, args: Arguments, kwargs: Keywords) -> Any:
    return scaled_dot_product(mode.softmax, *args, **kwargs)


def _multi_head(mode: Mode, func: Function, args: Arguments, kwargs: Keywords) -> Any:
    with mode:
        return MULTI_HEAD(*args, **kwargs)


def _every(step: Step, *functions: Function) -> dict[Function, Step]:
    return dict.fromkeys(functions, step)


CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d)
TRANSPOSED = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
SOFTMAX = (F.softmax, torch.softmax, Tensor.softmax)
ATTENTION = (*SOFTMAX, F.scaled_dot_product_attention, F.multi_head_attention_forward)
_SMOOTH = (
    *(F.gelu, F.silu, F.mish, F.hardswish, F.hardsigmoid, F.relu6, F.hardtanh, F.elu, F.selu, F.celu, F.softplus),
    *(F.sigmoid, F.tanh, F.softsign, F.logsigmoid, torch.sigmoid, torch.tanh, Tensor.sigmoid, Tensor.tanh),
    *(torch.sigmoid_, torch.tanh_, Tensor.sigmoid_, Tensor.tanh_, Tensor.clamp, Tensor.clamp_, torch.clamp),
)
TABLE: dict[Function, Step] = {
    **_every(_weighted, F.linear, *CONVOLUTIONS, *TRANSPOSED),
    **_every(_batch_norm, F.batch_norm),
    **_every(_softmax, *SOFTMAX),
    **_every(_activation, *_SMOOTH),
    **_every(_homogeneous, F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_),
    **_every(_product(torch.matmul), torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm),
    **_every(_product(torch.matmul), torch.mm, Tensor.mm),
    **_every(_product(lambda one, two: two @ one), Tensor.__rmatmul__),
    **_every(_added, torch.addmm, Tensor.addmm, torch.baddbmm, Tensor.baddbmm),
    **_every(_product(operator.mul), torch.mul, torch.multiply, Tensor.mul, Tensor.multiply, Tensor.__mul__),
    **_every(_product(operator.mul), Tensor.__rmul__, Tensor.mul_, Tensor.__imul__),
    **_every(_einsum, torch.einsum),
    **_every(_tensordot, torch.tensordot),
    **_every(_quotient, torch.div, torch.divide, torch.true_divide, Tensor.div, Tensor.true_divide),
    **_every(_quotient, Tensor.__truediv__, Tensor.div_, Tensor.__itruediv__),
    **_every(_constant, torch.rsqrt, Tensor.rsqrt, torch.reciprocal, Tensor.reciprocal),
    **_every(_out_of_place(torch.add), Tensor.add_, Tensor.__iadd__),
    **_every(_out_of_place(torch.sub), Tensor.sub_, Tensor.__isub__),
    **_every(_layer_norm, F.layer_norm, torch.layer_norm),
    **_every(_rms_norm, F.rms_norm),
    **_every(_group_norm, F.group_norm, torch.group_norm),
    **_every(_unit_length, F.normalize),
    **_every(_scaled_dot_product, F.scaled_dot_product_attention),
    **_every(_multi_head, F.multi_head_attention_forward),
}
