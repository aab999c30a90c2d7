"""How a model's modules are called: what their code, once taken from the graph, has to accept and return."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from secateur.core.errors import SurgeryError
from secateur.core.model_inputs import ModelInputs, call
from secateur.core.modules import evaluating


class CodeError(SurgeryError):
    """The code of the modules `modules` cannot be taken over from the graph."""

    def __init__(self, module: str, reason: str, others: tuple[str, ...] = ()) -> None:
        super().__init__(f"the code of {module} cannot be taken over from the graph: {reason}")
        self.reason = reason
        self.modules = (module, *others)


@dataclass(frozen=True)
class RecordedCall:
    """How a module was called: its arguments and what it returned, tensors without their numbers."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    result: Any


@contextmanager
def recorded(model: nn.Module, names: list[str]) -> Iterator[dict[str, list[RecordedCall]]]:
    """A dictionary of all calls of some modules while the model runs."""
    seen: dict[str, list[RecordedCall]] = {name: [] for name in names}
    handles = []
    for name in names:

        def hook(_module: nn.Module, args: Any, kwargs: Any, result: Any, name: str = name) -> None:
            found = (args, kwargs, result)
            shapes = tree_map(lambda leaf: leaf.to("meta") if isinstance(leaf, Tensor) else leaf, found)
            seen[name].append(RecordedCall(*shapes))

        handles.append(model.get_submodule(name).register_forward_hook(hook, with_kwargs=True))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def record_calls(dense: nn.Module, example: ModelInputs) -> dict[str, list[RecordedCall]]:
    """The calls of all modules in a run of the dense model in evaluation mode."""
    names = [name for name, _ in dense.named_modules(remove_duplicate=False)]
    with evaluating(dense), torch.no_grad(), recorded(dense, names) as seen:
        call(dense, example)
    return seen


def is_plain(call: RecordedCall) -> bool:
    """Whether a call has one tensor in and one out."""
    return (
        len(call.args) == 1
        and isinstance(call.args[0], Tensor)
        and all(value is None for value in call.kwargs.values())
        and isinstance(call.result, Tensor)
    )
