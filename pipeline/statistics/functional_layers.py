"""What goes through layers that a model does not call, but whose weights it hands to a function."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.overrides import TorchFunctionMode

from secateur.pipeline.statistics.weight_products import PRODUCTS, Address, layer_calls
from secateur.pipeline.structure.groups import Site
from secateur.pipeline.structure.layer_form import WeightView

Key = tuple[str, str]
"""A layer (`Site.name`) and one of its sides, "input" or "output"."""
CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
# nn.MultiheadAttention's function hands itself to a mode as a whole, unless nothing in it asks for that
MULTI_HEAD = FunctionType(
    F.multi_head_attention_forward.__code__,
    {**vars(F), "has_torch_function": lambda _tensors: False},
    argdefs=F.multi_head_attention_forward.__defaults__,
)


class FunctionalLayers(TorchFunctionMode):
    """Hands the inputs and outputs of calls with certain weights to `change`, and goes on with what it returns.

    The weights are those of the `sites` that have one (`Site.weight`); `change` gets the site's key and the tensor.
    What multiplies by a weight in another way than a linear layer does shows its values as that one would.
    """

    def __init__(self, model: nn.Module, sites: Iterable[Site], change: Callable[[Key, Tensor], Tensor]) -> None:
        super().__init__()
        self._change = change
        self._keys: dict[int | Address, set[Key]] = {}
        for site in sites:
            if site.weight:
                layer = model.get_submodule(site.module)
                weight: Tensor = getattr(layer, site.weight)
                convolution = site.view is None and isinstance(layer, _ConvNd)
                at = id(weight) if convolution else _address(weight, site.view)
                self._keys.setdefault(at, set()).add(site.key)

    def __bool__(self) -> bool:
        return bool(self._keys)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.multi_head_attention_forward:
            with self:
                return MULTI_HEAD(*args, **kwargs)
        for call in layer_calls(func, args, kwargs) if func is F.linear or func in PRODUCTS else ():
            if keys := self._keys.get(call.address):
                return call.run(F.linear, lambda side, x, keys=keys: self._changed(keys, side, x))  # type: ignore[misc]  # the keys are bound
        keys = self._keys.get(id(args[1]), set()) if func in CONVOLUTIONS and len(args) > 1 else set()
        if keys:
            args = (self._changed(keys, "input", args[0]), *args[1:])
        return self._changed(keys, "output", func(*args, **kwargs))

    def _changed(self, keys: set[Key], side: str, tensor: Tensor) -> Tensor:
        for key in keys:
            if key[1] == side:
                tensor = self._change(key, tensor)
        return tensor


def _address(weight: Tensor, view: WeightView | None) -> Address:
    """Where a matrix is that a function multiplies by: all of a weight `[out, in]`, or a view of it."""
    if view is None:
        return weight.data_ptr(), tuple(weight.shape), tuple(weight.stride())
    return weight.data_ptr() + view.offset * weight.element_size(), view.sizes, view.strides
