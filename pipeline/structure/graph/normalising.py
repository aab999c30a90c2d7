"""Which modules of a graph normalise, by what they compute, whatever their class."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from secateur.pipeline.structure.graph.program import lengths, operation_of, stack_of

STATISTICS = frozenset(
    {"mean", "std", "var", "std_mean", "var_mean", "amax", "amin", "layer_norm", "rms_norm", "group_norm"}
)
"""Operations whose results change when values that they run over go, even where these are zero."""
Entries = dict[str, list[fx.Node]]
"""For each module that normalises, what goes into its calls."""


@dataclass
class _Call:
    """The nodes of one call of a module."""

    path: str
    nodes: dict[fx.Node, None] = field(default_factory=dict)


def normalising(program: ExportedProgram, model: nn.Module) -> Entries:
    """The modules from one tensor to one of its shape that take statistics, innermost ones, with the nodes they read.

    Such a module has no tensor of more than one dimension, so that with the units that stay it is the same module with
    a smaller width: LayerNorms of all layouts, RMSNorms, response normalisation, or what a user has written.
    """
    kinds = {entry.arg.name: entry.kind for entry in program.graph_signature.input_specs}
    inputs = {node for node in program.graph.nodes if kinds.get(node.name) == InputKind.USER_INPUT}
    calls: dict[str, _Call] = {}
    for node in program.graph.nodes:
        for key, path in stack_of(node):
            calls.setdefault(key, _Call(path)).nodes[node] = None
    found: Entries = {}
    refused: set[str] = set()
    for node in program.graph.nodes:
        if not STATISTICS & set(_operations(node)):
            continue
        for key, path in reversed(stack_of(node)):
            entry = _entry(calls[key], inputs) if path and _one_width(model.get_submodule(path)) else None
            if entry is not None:
                if entry not in found.setdefault(path, []):
                    found[path].append(entry)
                break
            refused.add(path)
    return {path: entries for path, entries in found.items() if path not in refused}


def _operations(node: fx.Node) -> Iterator[str]:
    """The names of the operations of a node, also of those in a graph that it runs."""
    if node.op == "call_function":
        yield operation_of(node)
        for source in node.all_input_nodes:
            within = getattr(node.graph.owning_module, str(source.target), None) if source.op == "get_attr" else None
            if isinstance(within, fx.GraphModule):
                yield from (name for inner in within.graph.nodes for name in _operations(inner))


def _one_width(module: nn.Module) -> bool:
    """Whether all tensors of a module are vectors, but for dimensions of length one."""
    tensors: Iterable[Tensor] = [*module.parameters(), *module.buffers()]
    return all(sum(size > 1 for size in tensor.shape) <= 1 for tensor in tensors)


def _entry(call: _Call, inputs: set[fx.Node]) -> fx.Node | None:
    """The one tensor that a call reads, if it returns one of the same shape; `inputs` are the model's own.

    Weights and constants do not count.
    """
    sources = {
        source
        for node in call.nodes
        for source in node.all_input_nodes
        if source not in call.nodes and (source in inputs or source.op == "call_function") and _shape(source)
    }
    results = [node for node in call.nodes if _shape(node) and any(user not in call.nodes for user in node.users)]
    if len(sources) != 1 or len(results) != 1:
        return None
    entry = sources.pop()
    return entry if _shape(entry) == _shape(results[0]) else None


def _shape(node: fx.Node) -> tuple[int, ...] | None:
    value = node.meta.get("val")
    return lengths(value) if isinstance(value, Tensor) else None
