"""A module's program: its own graph, step by step that of the whole model, with what the trace says of its values."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor, fx, nn

from secateur.core.model_inputs import tensors_in
from secateur.pipeline.structure.codegen.alignment import Alignment, align
from secateur.pipeline.structure.codegen.arguments import Leaf, argument_leaves
from secateur.pipeline.structure.codegen.body import Body
from secateur.pipeline.structure.codegen.calls import PLAIN, Calls, CodeError, RecordedCall
from secateur.pipeline.structure.codegen.conditions import holds
from secateur.pipeline.structure.codegen.mode_regions import Region, regions_by_mode
from secateur.pipeline.structure.codegen.nested import holds_tensors, leaves_of, leaves_with_keys
from secateur.pipeline.structure.codegen.own_graph import OwnGraph, own_graph
from secateur.pipeline.structure.graph.program import hint_of, is_symbol, stack_of
from secateur.pipeline.structure.graph.regions import gradients
from secateur.pipeline.structure.graph.trace import Trace
from secateur.pipeline.structure.graph.value import Value


@dataclass(frozen=True, eq=False)
class ModuleProgram:
    """The graph of a module `name`, with its `body`, in training where that takes the steps of evaluation.

    `leaves` says where the arguments of its `call` hold the values of the graph's inputs, `fixed` which dimensions of
    these have to keep their lengths, and `values` what is known of every node in this one of the module's calls.
    `regions` has those of autocast and without gradients that every step lies in, where the mode decides on some.
    """

    name: str
    own: OwnGraph
    body: Body
    call: RecordedCall
    leaves: Sequence[Leaf]
    fixed: Mapping[fx.Node, Mapping[int, int]]
    values: Mapping[fx.Node, Any]
    alignment: Alignment
    regions: Mapping[fx.Node, tuple[Region, ...]]

    @property
    def fixed_by_leaf(self) -> list[tuple[int, Mapping[int, int]]]:
        """What is fixed of each leaf of the arguments, by its number."""
        return [(number, self.fixed[node]) for number, node in self.own.inputs.items()]

    def takes(self, call: RecordedCall) -> bool:
        """Whether the code runs for another call, of a larger example say, of which it is not known to fail."""
        leaves = call.leaves
        if call.keys != self.call.keys:
            return False
        inputs = {str(self.leaves[number]): leaves[number] for number in self.own.inputs}
        lengths = (
            (leaves[number].shape[dim], size) for number, dims in self.fixed_by_leaf for dim, size in dims.items()
        )
        return all(one == two for one, two in lengths) and all(holds(guard, inputs) for guard in self.own.guards)


def module_programs(trace: Trace, name: str, dense: nn.Module, calls: Calls) -> list[ModuleProgram]:
    """The programs of a module of the `dense` model, which is left as it was: the same graph for each of its calls.

    It is that for any size of samples, if that takes the steps that the example takes, and that of training, if that
    takes the same as evaluation but for what a mode decides. Raises `CodeError` for a module that does not run, that is
    called in different ways, or that cannot be traced on its own.
    """
    seen, wholes = calls.base.get(name, []), _whole_bodies(trace, name, calls)
    if not seen:
        raise CodeError(name, "it does not run in a forward pass")
    if len(seen) != len(wholes):
        raise CodeError(name, f"it runs {len(seen)} times in one forward pass, of which the graph shows {len(wholes)}")
    if any(_form(call) != _form(seen[0]) for call in seen):
        raise CodeError(name, "it is called in different ways in one forward pass")
    if any(node.target is gradients and node.args[0] for whole in wholes for node in whole.nodes):
        raise CodeError(name, "it turns gradients on in a part of it")
    if not tensors_in(seen[0].result) or any(map(holds_tensors, leaves_of(seen[0].result))):
        raise CodeError(name, f"it returns a {type(seen[0].result).__name__}, whose tensors are not known")
    module = dense.get_submodule(name)
    leaves = argument_leaves(name, inspect.signature(module.forward), seen[0])
    for any_size, training in product((True, False), (True, False)):
        try:
            own = own_graph(module, name, calls, training, any_size)
        except Exception as error:  # whatever a module's code raises is the reason why it cannot be traced
            if training or any_size:
                continue
            if isinstance(error, CodeError):
                raise
            raise CodeError(name, f"it cannot be traced on its own ({' '.join(str(error).split())[:160]})") from error
        body = Body(own.operations, 2, own.attributes, own.numbers, _children(calls, name))
        found = [align(body, whole) for whole in wholes]
        alignments = [one for one in found if one is not None and _same_parameters(trace, name, own, one)]
        if len(alignments) < len(wholes):
            continue
        programs = [
            ModuleProgram(
                *(name, own, body, call, leaves, _all_fixed(own, values), values, alignment),
                regions_by_mode(body, whole, alignment.partners),
            )
            for call, whole, alignment in zip(seen, wholes, alignments, strict=True)
            for values in [_values(trace, own, alignment)]
        ]
        samples = calls.by_samples(name)
        if all(not dims.keys() & samples[number] for one in programs for number, dims in one.fixed_by_leaf):
            return programs
        if not training and not any_size:
            raise CodeError(name, "it works for one number of samples only")
    raise CodeError(name, "on its own it takes other steps than within the model")


def _form(call: RecordedCall) -> list[Any]:
    """What has to be alike in all calls of a module: what is passed where, lengths aside, and returned."""
    lengths = [isinstance(leaf, int) and not isinstance(leaf, bool) for leaf in call.leaves]
    passed = [
        None if isinstance(leaf, Tensor) or length else leaf if isinstance(leaf, PLAIN) else id(leaf)
        for leaf, length in zip(call.leaves, lengths, strict=True)
    ]
    return [call.keys, passed, call.firsts, [keys for keys, _ in leaves_with_keys(call.result)]]


def _whole_bodies(trace: Trace, name: str, calls: Calls) -> list[Body]:
    """The module's parts of the whole model's graph, one for each time that it runs."""
    nodes: dict[str, list[fx.Node]] = {}
    depth = 0
    for node in trace.values:
        for place, (key, path) in enumerate(stack_of(node) if node.op == "call_function" else ()):
            if path == name:
                nodes.setdefault(key, []).append(node)
                depth = place + 1
    known = {
        node
        for node, value in trace.values.items()
        if isinstance(value, Value) and value.data is not None and not _has_symbols(node)
    }
    return [Body(found, depth, trace.names, known, _children(calls, name)) for found in nodes.values()]


def _children(calls: Calls, name: str) -> dict[str, list[RecordedCall]]:
    """The calls of a module's children, by their paths within it, of those that are passed the same plain values."""
    prefix = f"{name}." if name else ""
    return {
        path.removeprefix(prefix): seen
        for path, seen in calls.base.items()
        if seen and path != name and path.startswith(prefix) and not _varies(calls, path)
    }


def _varies(calls: Calls, path: str) -> bool:
    """Whether a module is passed something else than tensors that changes from call to call."""
    (first, *others) = calls.base[path]
    plain = [isinstance(leaf, PLAIN) for leaf in first.leaves]
    dims = zip(plain, calls.by_samples(path), calls.by_size(path), strict=True)
    return any(_form(call) != _form(first) for call in others) or any(
        one and (two or three) for one, two, three in dims
    )


def _same_parameters(trace: Trace, name: str, own: OwnGraph, alignment: Alignment) -> bool:
    """Whether the nodes that stand for parameters are partners of those of the same ones."""
    pairs = [(alignment.partners.get(node), path) for node, path in own.attributes.items()]
    return all(
        one is None or trace.names.get(one) == trace.aliases[f"{name}.{path}".lstrip(".")] for one, path in pairs
    )


def _values(trace: Trace, own: OwnGraph, alignment: Alignment) -> dict[fx.Node, Any]:
    """What the trace says of each node's partner; lengths are those of the example."""
    values = {node: trace.values[partner] for node, partner in alignment.partners.items()}
    for node in own.graph.nodes:
        length: Any = node.meta.get("val")
        if node not in values and isinstance(length, (int, torch.SymInt)) and not isinstance(length, bool):
            values[node] = hint_of(length)
    return values


def _all_fixed(own: OwnGraph, values: Mapping[fx.Node, Any]) -> dict[fx.Node, dict[int, int]]:
    """The dimensions of each input that have to keep their lengths."""
    return {node: _fixed(node, values.get(node)) for node in own.inputs.values()}


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
