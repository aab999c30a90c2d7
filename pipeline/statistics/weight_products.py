"""Calls that multiply by a weight, however they are written, as calls of linear layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.benchmarks.mac_handlers import einsum_labels
from secateur.pipeline.structure.layer_form import LayerForm, alike_along, layer_form, product_labels, tensordot_labels

Function = Callable[..., Any]
Address = tuple[int, tuple[int, ...], tuple[int, ...]]
"""Where in memory a matrix is, its sizes and its strides."""
_ADDED = (torch.addmm, Tensor.addmm, torch.baddbmm, Tensor.baddbmm)
PRODUCTS = (
    *(torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.mm, Tensor.mm, torch.bmm, Tensor.bmm, Tensor.__rmatmul__),
    *(torch.einsum, torch.tensordot, *_ADDED),
)
"""Functions that multiply two tensors, either of which may be a weight."""


@dataclass(frozen=True)
class LayerCall:
    """One call as that of a linear layer: its input, and of its weight and bias what it computes with."""

    x: Tensor
    weight: Tensor
    form: LayerForm
    bias: Tensor | None = None
    added: Tensor | None = None

    @property
    def address(self) -> Address:
        """Where the weight is; that of a view `WeightView` of a parameter is its own."""
        found, _ = self.form.arranged(self.weight)
        return found.data_ptr(), tuple(found.shape), tuple(found.stride())

    def run(self, linear: Function, change: Callable[[str, Tensor], Tensor] = lambda _side, x: x) -> Tensor:
        """What the call returns, computed by `linear(x, weight, bias)`; `change` gets both sides of the layer."""
        x = change("input", self.form.read(self.x))
        y = change("output", linear(x, self.form.matrix(self.weight), self.bias))
        made = self.form.made(y, self.weight)
        return made if self.added is None else made + self.added


def layer_calls(func: Function, args: Sequence[Any], kwargs: dict[str, Any]) -> Iterator[LayerCall]:
    """The call as that of a linear layer, for each of its operands that may be the weight."""
    bias: Tensor | None = None
    added: Tensor | None = None
    if func is F.linear:
        given = {**dict(zip(("input", "weight", "bias"), args, strict=False)), **kwargs}
        operands, bias = [given["input"], given["weight"]], given.get("bias")
    elif func is torch.einsum:
        operands = list(args[1]) if len(args) == 2 and isinstance(args[1], list | tuple) else list(args[1:])
    elif func in _ADDED:
        operands, added = list(args[1:3]), args[0]
        if len(args) != 3 or kwargs:
            return  # scaled, or by keyword
    else:
        operands = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)][:2]
        if func is Tensor.__rmatmul__:
            operands.reverse()
    if len(operands) != 2 or not all(isinstance(operand, Tensor) and operand.ndim > 0 for operand in operands):
        return
    one, two = operands
    if func is torch.einsum:
        if not isinstance(args[0], str):
            return
        (first, second), result = einsum_labels(args[0], [one.shape, two.shape])
    elif func is torch.tensordot:
        dims = args[2] if len(args) > 2 else kwargs.get("dims", 2)
        if isinstance(dims, Tensor):
            return
        pair = (range(-dims, 0), range(dims)) if isinstance(dims, int) else dims
        first, second, result = tensordot_labels(one.ndim, two.ndim, *pair)
    else:
        if min(one.ndim, two.ndim) < 2 and func is not F.linear:
            return
        first, second, result = product_labels(one.ndim, two.ndim, func is F.linear)
    for x, weight, reads, makes in ((one, two, first, second), (two, one, second, first)):
        form = layer_form(reads, makes, result, alike_along(weight))
        if form is None:
            continue
        if added is not None and added.ndim == 1 and x is one:
            yield LayerCall(x, weight, form, bias=added)
        else:
            yield LayerCall(x, weight, form, bias, added)
        if func is F.linear:
            return


def by_parameter(func: Function, args: Sequence[Any], kwargs: dict[str, Any]) -> LayerCall | None:
    """The call as that of a linear layer whose weight is a parameter, or a part of one: of two the second."""
    return next((call for call in layer_calls(func, args, kwargs) if _is_parameter(call.weight)), None)


def _is_parameter(tensor: Tensor) -> bool:
    return isinstance(tensor, nn.Parameter) or isinstance(tensor._base, nn.Parameter)
