"""A module's own graph: the module traced alone, for any number and any size of samples that it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from secateur.core.modules import device_of, frozen
from secateur.pipeline.structure.codegen.calls import Calls, CodeError, RecordedCall
from secateur.pipeline.structure.codegen.nested import leaves_of, leaves_with_keys
from secateur.pipeline.structure.graph.program import symbolic_len
from secateur.pipeline.structure.graph.regions import inference_as_region, inlined

AUTO = torch.export.Dim.AUTO


@dataclass(frozen=True, eq=False)
class OwnGraph:
    """The graph of a module, in training or in evaluation.

    `inputs` has its nodes by the number of the argument's leaf that they stand for, `attributes` the paths of
    parameters and buffers within the module, `numbers` other tensors. `results` are the leaves of what it returns:
    nodes, and what is no tensor. `guards` are conditions on the inputs under which the module takes these steps, as
    torch writes them: Python expressions with the inputs as `L["inputs"]`.
    """

    graph: fx.Graph
    inputs: Mapping[int, fx.Node]
    attributes: Mapping[fx.Node, str]
    numbers: Mapping[fx.Node, Tensor]
    results: Sequence[Any]
    guards: tuple[str, ...]
    training: bool

    @property
    def operations(self) -> list[fx.Node]:
        """The nodes that compute something."""
        return [node for node in self.graph.nodes if node.op == "call_function"]


class Flat(nn.Module):
    """A module that is called like `call`, but with some of the leaves of its arguments, and returns leaves alone.

    `inputs` are the numbers of these leaves. What `call` passes in several places is one leaf.
    """

    def __init__(self, module: nn.Module, call: RecordedCall, inputs: Sequence[int]) -> None:
        super().__init__()
        self.module, self.call, self.places = module, call, inputs

    def forward(self, *inputs: Any) -> list[Any]:
        """The tensors and numbers that the module returns; raises `ValueError` where they lie elsewhere."""
        leaves = self.call.leaves
        for place, value in zip(self.places, inputs, strict=True):
            leaves[place] = value
        args, kwargs = self.call.with_leaves([leaves[first] for first in self.call.firsts])
        result = self.module(*args, **kwargs)
        if [keys for keys, _ in leaves_with_keys(result)] != [keys for keys, _ in leaves_with_keys(self.call.result)]:
            raise ValueError("it returns something else than within the model")
        return [leaf for leaf in leaves_of(result) if varies(leaf)]


def varies(leaf: object) -> bool:
    """Whether a leaf of what a module returns may be another at another call: a tensor, or a length."""
    return isinstance(leaf, (Tensor, int, torch.SymInt)) and not isinstance(leaf, bool)


def own_graph(module: nn.Module, name: str, calls: Calls, training: bool, any_size: bool = True) -> OwnGraph:
    """The graph of a module that a model calls `name`, as in the first of its calls; the module is left as it was.

    Lengths that follow the number of samples, and their size if it is for `any_size`, are symbols in it, unless the
    code settles them. Raises `CodeError` where a part of it is a graph of its own, and whatever the module's code
    raises when it is traced.
    """
    call = calls.base[name][0]
    dynamic = list(calls.by_samples(name))
    if any_size:
        dynamic = [one | two for one, two in zip(dynamic, calls.by_size(name), strict=True)]
    places = [
        number
        for number, (leaf, first, dims) in enumerate(zip(call.leaves, call.firsts, dynamic, strict=True))
        if first == number and (isinstance(leaf, Tensor) or dims)
    ]
    program = _exported(Flat(module, call, places), training, [dynamic[place] for place in places])
    entries = {entry.arg.name: entry for entry in program.graph_signature.input_specs}
    attributes: dict[fx.Node, str] = {}
    numbers: dict[fx.Node, Tensor] = {}
    inputs: list[fx.Node] = []
    for node in program.graph.nodes:
        if node.op == "get_attr":
            found = getattr(program.graph_module, str(node.target), None)
            if not isinstance(found, Tensor):
                raise CodeError(name, "it opens a graph of its own, such as a condition")
            numbers[node] = found
        if node.op != "placeholder":
            continue
        entry = entries[node.name]
        if entry.kind in (InputKind.PARAMETER, InputKind.BUFFER):
            attributes[node] = str(entry.target).removeprefix("module.")
        elif entry.kind == InputKind.CONSTANT_TENSOR:
            numbers[node] = program.constants[str(entry.target)].detach()
        else:
            inputs.append(node)
    guards = tuple(getattr(program, "_guards_code", None) or ())
    taken: Any = program.graph.output_node().args[0]
    known = iter(taken)
    results = [next(known) if varies(leaf) else leaf for leaf in leaves_of(call.result)]
    by_place = dict(zip(places, inputs, strict=True))
    return OwnGraph(program.graph, by_place, attributes, numbers, results, guards, training)


def _exported(flat: Flat, training: bool, dynamic: Sequence[frozenset[int]]) -> ExportedProgram:
    """The program of a module, with the lengths `dynamic` of its inputs left open.

    Gradients are on, so that regions without are seen, but no parameter asks for one: PyTorch's own layers then take
    the way that they take without.
    """
    device, leaves = device_of(flat), [flat.call.leaves[place] for place in flat.places]
    made = [torch.zeros(x.shape, dtype=x.dtype, device=device) if isinstance(x, Tensor) else x for x in leaves]
    lengths = tuple(
        dict.fromkeys(dims, AUTO) if isinstance(x, Tensor) else AUTO for x, dims in zip(made, dynamic, strict=True)
    )
    with frozen(flat), torch.enable_grad(), inference_as_region(), symbolic_len():
        flat.module.train(training)
        return inlined(torch.export.export(flat, tuple(made), dynamic_shapes={"inputs": lengths}, strict=False))
