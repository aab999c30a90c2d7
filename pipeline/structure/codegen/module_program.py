"""A module's program: its own graph, step by step that of the whole model, with what the trace says of its values."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from secateur.core.model_inputs import tensors_in
from secateur.pipeline.structure.codegen.alignment import Alignment, align
from secateur.pipeline.structure.codegen.arguments import Leaf, leaves_of
from secateur.pipeline.structure.codegen.body import Body
from secateur.pipeline.structure.codegen.calls import Calls, CodeError, RecordedCall
from secateur.pipeline.structure.codegen.own_graph import OwnGraph, own_graph
from secateur.pipeline.structure.graph.program import hint_of, is_symbol, stack_of
from secateur.pipeline.structure.graph.trace import Trace
from secateur.pipeline.structure.graph.value import Value


@dataclass(frozen=True, eq=False)
class ModuleProgram:
    """The graph of a module `name`, with its `body`, in training where that takes the steps of evaluation.

    `leaves` says where the arguments of its `call` hold the values of the graph's inputs, `fixed` which dimensions of
    these have to keep their lengths, and `values` what is known of every node.
    """

    name: str
    own: OwnGraph
    body: Body
    call: RecordedCall
    leaves: Sequence[Leaf]
    fixed: Mapping[fx.Node, Mapping[int, int]]
    values: Mapping[fx.Node, Any]
    alignment: Alignment


def module_program(trace: Trace, name: str, dense: nn.Module, calls: Calls) -> ModuleProgram:
    """The program of a module of the `dense` model, which is left as it was.

    It is that of training, if that takes the same steps as evaluation but for what a mode decides. Raises `CodeError`
    for a module that does not run once, or that cannot be traced on its own.
    """
    if len(calls.base.get(name, ())) != 1:
        raise CodeError(name, f"it runs {len(calls.base.get(name, ()))} times in one forward pass")
    (call,) = calls.base[name]
    tensors = len(tensors_in(call.result))
    if tensors != 1:
        raise CodeError(name, f"it returns {tensors} tensors instead of one")
    module = dense.get_submodule(name)
    leaves = leaves_of(name, inspect.signature(module.forward), call)
    whole = _whole_body(trace, name, calls)
    for training in (True, False):
        try:
            own = own_graph(module, name, calls, training)
        except Exception as error:  # whatever a module's code raises is the reason why it cannot be traced
            if training:
                continue
            if isinstance(error, CodeError):
                raise
            raise CodeError(name, f"it cannot be traced on its own ({' '.join(str(error).split())[:160]})") from error
        body = Body(own.operations, 1, own.attributes, own.numbers, _children(calls, name))
        alignment = align(body, whole)
        if alignment is None or not _same_parameters(trace, name, own, alignment):
            continue
        values = _values(trace, own, alignment)
        fixed = {node: _fixed(node, values.get(node)) for node in own.inputs}
        if all(not fixed[node].keys() & dims for node, dims in zip(own.inputs, calls.by_samples(name), strict=True)):
            return ModuleProgram(name, own, body, call, leaves, fixed, values, alignment)
        if not training:
            raise CodeError(name, "it works for one number of samples only")
    raise CodeError(name, "on its own it takes other steps than within the model")


def _whole_body(trace: Trace, name: str, calls: Calls) -> Body:
    """The module's part of the whole model's graph."""
    nodes, depth = [], 0
    for node in trace.values:
        paths = [path for _, path in stack_of(node)]
        if node.op == "call_function" and name in paths:
            nodes.append(node)
            depth = paths.index(name) + 1
    known = {
        node
        for node, value in trace.values.items()
        if isinstance(value, Value) and value.data is not None and not _has_symbols(node)
    }
    return Body(nodes, depth, trace.names, known, _children(calls, name))


def _children(calls: Calls, name: str) -> dict[str, list[RecordedCall]]:
    """The calls of a module's children, by their paths within it."""
    prefix = f"{name}."
    return {path.removeprefix(prefix): seen for path, seen in calls.base.items() if path.startswith(prefix)}


def _same_parameters(trace: Trace, name: str, own: OwnGraph, alignment: Alignment) -> bool:
    """Whether the nodes that stand for parameters are partners of those of the same ones."""
    pairs = [(alignment.partners.get(node), path) for node, path in own.attributes.items()]
    return all(one is None or trace.names.get(one) == trace.aliases[f"{name}.{path}"] for one, path in pairs)


def _values(trace: Trace, own: OwnGraph, alignment: Alignment) -> dict[fx.Node, Any]:
    """What the trace says of each node's partner; lengths are those of the example."""
    values = {node: trace.values[partner] for node, partner in alignment.partners.items()}
    for node in own.graph.nodes:
        length: Any = node.meta.get("val")
        if node not in values and isinstance(length, (int, torch.SymInt)) and not isinstance(length, bool):
            values[node] = hint_of(length)
    return values


def _fixed(node: fx.Node, value: Any) -> dict[int, int]:
    """The dimensions of an input that have one length in the graph, those of units aside, which are cut."""
    found = node.meta.get("val")
    if not isinstance(found, Tensor) or not isinstance(value, Value):
        return {}
    lengths = enumerate(found.shape)
    return {dim: int(size) for dim, size in lengths if not is_symbol(size) and not value.on(dim)}


def _has_symbols(node: fx.Node) -> bool:
    """Whether the shape of a tensor depends on the batch."""
    found = node.meta.get("val")
    return isinstance(found, Tensor) and any(map(is_symbol, found.shape))
