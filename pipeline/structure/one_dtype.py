"""Runs a model in one floating-point type, whatever types its code asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_any_only, tree_map_only

_MADE = (torch.ops.aten.lift_fresh.default,)
"""What hands over a tensor that was made of Python numbers."""


class OneDtype(TorchDispatchMode):  # type: ignore[no-untyped-call]  # PyTorch leaves it untyped
    """While it is on, floating-point tensors that operations make or convert are of the type `dtype`.

    Conversions in a model's code (`.double()`, `.to(torch.bfloat16)`) and autocast then change nothing, so that two
    models of mixed types can be compared in the precision that tells a wrong unit from rounding. All tensors that the
    model holds have to be of that type.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # PyTorch leaves it untyped
        self.dtype = dtype

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = {name: self._one(value) for name, value in (kwargs or {}).items()}
        found = func(*args, **given)
        if func in _MADE or not tree_any_only(Tensor, lambda _tensor: True, (args, given)):
            found = tree_map_only(Tensor, self._converted, found)
        return found

    def _one(self, value: Any) -> Any:
        return self.dtype if isinstance(value, torch.dtype) and value.is_floating_point else value

    def _converted(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor
