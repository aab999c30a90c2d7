"""A module's own graph: the module traced alone, for any number and any size of samples that it takes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from secateur.core.modules import device_of, evaluating
from secateur.pipeline.structure.codegen.arguments import by_parameter, copied
from secateur.pipeline.structure.codegen.calls import Calls, CodeError
from secateur.pipeline.structure.graph.program import symbolic_len, tensors_alone

AUTO = torch.export.Dim.AUTO


@dataclass(frozen=True, eq=False)
class OwnGraph:
    """The graph of a module, in training or in evaluation.

    `inputs` are its nodes for the flattened arguments, `attributes` has the paths of parameters and buffers within the
    module, `numbers` other tensors. `guards` are conditions on the arguments under which the module takes these steps,
    as torch writes them: Python expressions with the arguments as `L`.
    """

    graph: fx.Graph
    inputs: Sequence[fx.Node]
    attributes: Mapping[fx.Node, str]
    numbers: Mapping[fx.Node, Tensor]
    guards: tuple[str, ...]
    training: bool

    @property
    def operations(self) -> list[fx.Node]:
        """The nodes that compute something."""
        return [node for node in self.graph.nodes if node.op == "call_function"]

    @property
    def results(self) -> list[fx.Node]:
        """The nodes that the module returns."""
        return list(self.graph.output_node().all_input_nodes)


def own_graph(module: nn.Module, name: str, calls: Calls, training: bool) -> OwnGraph:
    """The graph of a module that a model calls `name`, once; the module is left as it was.

    Lengths that follow the number or the size of samples are symbols in it, unless the code settles them. Raises
    `CodeError` where a part of it is a graph of its own, and whatever the module's code raises when it is traced.
    """
    program = _exported(module, name, calls, training)
    entries = {entry.arg.name: entry for entry in program.graph_signature.input_specs}
    attributes: dict[fx.Node, str] = {}
    numbers: dict[fx.Node, Tensor] = {}
    inputs: list[fx.Node] = []
    for node in program.graph.nodes:
        if node.op == "get_attr":
            found = getattr(program.graph_module, str(node.target), None)
            if not isinstance(found, Tensor):
                raise CodeError(name, "it opens a graph of its own, such as autocast")
            numbers[node] = found
        if node.op != "placeholder":
            continue
        entry = entries[node.name]
        if entry.kind in (InputKind.PARAMETER, InputKind.BUFFER):
            attributes[node] = str(entry.target)
        elif entry.kind == InputKind.CONSTANT_TENSOR:
            numbers[node] = program.constants[str(entry.target)].detach()
        else:
            inputs.append(node)
    guards = tuple(getattr(program, "_guards_code", None) or ())
    return OwnGraph(program.graph, inputs, attributes, numbers, guards, training)


def _exported(module: nn.Module, name: str, calls: Calls, training: bool) -> ExportedProgram:
    device, (call,) = device_of(module), calls.base[name]
    given = tree_leaves((call.args, dict(call.kwargs)))
    made = [torch.zeros(x.shape, dtype=x.dtype, device=device) if isinstance(x, Tensor) else x for x in given]
    dynamic = [one | two for one, two in zip(calls.by_samples(name), calls.by_size(name), strict=True)]
    lengths = [
        dict.fromkeys(dims, AUTO) if isinstance(x, Tensor) else (AUTO if dims else None)
        for x, dims in zip(given, dynamic, strict=True)
    ]
    args, kwargs = copied(call, made)
    shapes = by_parameter(inspect.signature(module.forward), call, lengths)
    flat = module.register_forward_hook(tensors_alone)
    try:
        with evaluating(module), torch.no_grad(), symbolic_len(), _as_one(module, call.firsts):
            module.train(training)
            return torch.export.export(module, args, kwargs, dynamic_shapes=shapes, strict=False)
    finally:
        flat.remove()


@contextmanager
def _as_one(module: nn.Module, firsts: Sequence[int]) -> Iterator[None]:
    """The module gets one tensor wherever its caller passes one, which tracing takes apart."""

    def before(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        leaves, spec = tree_flatten((args, kwargs))
        return tree_unflatten([leaves[first] for first in firsts], spec)

    if all(first == number for number, first in enumerate(firsts)):
        yield
        return
    handle = module.register_forward_pre_hook(before, prepend=True, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
