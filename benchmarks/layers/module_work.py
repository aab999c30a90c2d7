"""What the modules of a PyTorch model cost in one run: MACs and bytes of the operations that each calls itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.hooks import RemovableHandle

from secateur.benchmarks.flops import Cost
from secateur.benchmarks.layers.alone import Alone, alone_of_module
from secateur.core.model_inputs import ModelInputs, call


@dataclass(frozen=True)
class ModuleWork:
    """What a module's own operations cost in one run, and what it is alone, if it can be timed so."""

    macs: int = 0
    bytes_moved: int = 0
    product: Alone | None = None


def module_work(model: nn.Module, example: ModelInputs, cost: Cost) -> dict[str, ModuleWork]:
    """What each module's own operations cost, by its name; the model's own forward has the empty one."""
    totals = {**cost.by_module, "": cost.macs}
    inside: dict[str, int] = {}
    for name, macs in totals.items():
        if name:
            parent = name.rpartition(".")[0]
            inside[parent] = inside.get(parent, 0) + macs
    traffic = _Traffic()
    handles = hook_modules(model, traffic.enter, traffic.leave)
    try:
        with traffic, torch.no_grad():
            call(model, example)
    finally:
        for handle in handles:
            handle.remove()
    names = dict.fromkeys([*totals, *traffic.bytes_moved])
    return {
        name: ModuleWork(
            totals.get(name, 0) - inside.get(name, 0), traffic.bytes_moved.get(name, 0), traffic.products.get(name)
        )
        for name in names
    }


def hook_modules(
    model: nn.Module, enter: Callable[[str, nn.Module, Any], None], leave: Callable[[], None]
) -> list[RemovableHandle]:
    """Calls `enter` with the name, the module and its arguments before each call of a module, and `leave` after it."""

    def before(name: str) -> Callable[[nn.Module, Any], None]:
        return lambda module, arguments: enter(name, module, arguments)

    handles = []
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(before(name)))
        handles.append(module.register_forward_hook(lambda *_: leave(), always_call=True))
    return handles


class _Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]  # PyTorch leaves it untyped
    """Counts what the operations of each module read and write; a view moves nothing."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # PyTorch leaves it untyped
        self.bytes_moved: dict[str, int] = {}
        self.products: dict[str, Alone] = {}
        self._open: list[str] = []

    def enter(self, name: str, module: nn.Module, arguments: Any) -> None:
        self._open.append(name)
        taken = next((one for one in tree_leaves(arguments) if isinstance(one, Tensor)), None)
        if taken is not None and (found := alone_of_module(module, taken.shape)) is not None:
            self.products[name] = found

    def leave(self) -> None:
        self._open.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view and "empty" not in str(func):
            tensors = {id(one): one for one in tree_leaves((args, kwargs, result)) if isinstance(one, Tensor)}
            layer = self._open[-1] if self._open else ""
            size = sum(one.numel() * one.element_size() for one in tensors.values())
            self.bytes_moved[layer] = self.bytes_moved.get(layer, 0) + size
        return result
