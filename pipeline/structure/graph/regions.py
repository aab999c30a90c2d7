"""Regions of a graph in which autocast or gradients are turned on or off, written into the graph between two marks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram


def autocast_of(
    device: Any, dtype: torch.dtype | None, enabled: bool, cache: bool | None = None, applies: bool = True
) -> AbstractContextManager[Any]:
    """Autocast on a device type, or on that of a tensor; as a node it begins a region, where it `applies`."""
    if not applies:
        return nullcontext()
    return torch.autocast(device.device.type if isinstance(device, Tensor) else device, dtype, enabled, cache)


def gradients(enabled: bool, applies: bool = True) -> AbstractContextManager[Any]:
    """Gradients on or off; as a node it begins a region, where it `applies`."""
    return torch.set_grad_enabled(enabled) if applies else nullcontext()


@contextmanager
def inference_as_region() -> Iterator[None]:
    """Makes inference mode a region without gradients while code is traced, since a tracer does not see it."""
    mode, before = torch.inference_mode, (torch.inference_mode.__enter__, torch.inference_mode.__exit__)
    regions: list[torch.set_grad_enabled] = []

    def enter(self: torch.inference_mode) -> None:
        regions.append(torch.set_grad_enabled(torch.is_grad_enabled() and not self.mode))

    def leave(self: torch.inference_mode, *error: Any) -> None:
        regions.pop().__exit__(*error)

    mode.__enter__, mode.__exit__ = enter, leave  # type: ignore[method-assign]  # for this time only
    try:
        yield
    finally:
        mode.__enter__, mode.__exit__ = before  # type: ignore[method-assign]  # as they were


def end_of(region: Any) -> None:
    """As a node the end of a region, which has no meaning of its own."""


MARKS = (autocast_of, gradients, end_of)
_BEGINS: dict[str, Callable[..., Any]] = {"wrap_with_autocast": autocast_of, "wrap_with_set_grad_enabled": gradients}


def inlined(program: ExportedProgram) -> ExportedProgram:
    """The program, in place, with the operations of its regions in their order, each region between two marks."""
    _inline(program.graph_module)
    return program


def _inline(module: fx.GraphModule) -> None:
    graph = module.graph
    for node in list(graph.nodes):
        begin = _BEGINS.get(getattr(node.target, "__name__", "")) if node.op == "call_function" else None
        if begin is None:
            continue
        place = next(place for place, arg in enumerate(node.args) if _is_module(arg))
        holder = node.args[place]
        region = getattr(module, holder.target)
        _inline(region)
        given = dict(zip(_holes(region.graph), node.args[place + 1 :], strict=True))
        with graph.inserting_before(node):
            marks = [graph.call_function(begin, node.args[:place])] if _computes(region.graph) else []
            made: Any = graph.graph_copy(region.graph, given)
            marks += [graph.call_function(end_of, (first,)) for first in marks]
        for mark in marks:
            mark.meta["nn_module_stack"] = node.meta.get("nn_module_stack", {})
        for inner in region.graph.nodes:  # tensors that it holds, and other graphs
            if inner.op == "get_attr":
                name = f"{holder.target}_{inner.target}".replace(".", "_")
                setattr(module, name, getattr(region, inner.target))
                given[inner].target = name
        for user in list(node.users):
            user.replace_all_uses_with(made[user.args[1]])
            graph.erase_node(user)
        for gone in (node, holder):
            if not gone.users:
                graph.erase_node(gone)


def _computes(graph: fx.Graph) -> bool:
    """Whether a region holds an operation; a tracer opens some that hold none."""
    return any(node.op == "call_function" for node in graph.nodes)


def _is_module(arg: object) -> bool:
    return isinstance(arg, fx.Node) and arg.op == "get_attr"


def _holes(graph: fx.Graph) -> list[fx.Node]:
    return [node for node in graph.nodes if node.op == "placeholder"]
