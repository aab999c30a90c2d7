"""What goes through layers that a model does not call, but whose weights it hands to a function."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from secateur.pipeline.structure.groups import Site

Key = tuple[str, str]
"""A layer (`Site.name`) and one of its sides, "input" or "output"."""
CALLS = (F.linear, F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
# nn.MultiheadAttention's function hands itself to a mode as a whole, unless nothing in it asks for that
_ATTENTION = FunctionType(
    F.multi_head_attention_forward.__code__,
    {**vars(F), "has_torch_function": lambda _tensors: False},
    argdefs=F.multi_head_attention_forward.__defaults__,
)


class FunctionalLayers(TorchFunctionMode):
    """Hands the inputs and outputs of calls with certain weights to `change`, and goes on with what it returns.

    The weights are those of the `sites` that have one (`Site.weight`); `change` gets the site's key and the tensor.
    """

    def __init__(self, model: nn.Module, sites: Iterable[Site], change: Callable[[Key, Tensor], Tensor]) -> None:
        super().__init__()
        self._change = change
        self._keys: dict[int, set[Key]] = {}
        for site in sites:
            if site.weight:
                weight = getattr(model.get_submodule(site.module), site.weight)
                self._keys.setdefault(id(weight), set()).add(site.key)

    def __bool__(self) -> bool:
        return bool(self._keys)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.multi_head_attention_forward:
            with self:
                return _ATTENTION(*args, **kwargs)
        keys = self._keys.get(id(args[1]), ()) if func in CALLS and len(args) > 1 else ()
        for key in keys:
            if key[1] == "input":
                args = (self._change(key, args[0]), *args[1:])
        result = func(*args, **kwargs)
        for key in keys:
            if key[1] == "output":
                result = self._change(key, result)
        return result
