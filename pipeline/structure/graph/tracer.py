"""Follows the labels of all parameters through a model's graph, one operation after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.utils._pytree import tree_map

from secateur.benchmarks.mac_handlers import macs_of
from secateur.core.model_inputs import ModelInputs
from secateur.pipeline.structure.graph.batches import places_in
from secateur.pipeline.structure.graph.normalising import normalising
from secateur.pipeline.structure.graph.op_rules import RULES
from secateur.pipeline.structure.graph.program import SAMPLES, aliases_of, exported, lengths, module_of, operation_of
from secateur.pipeline.structure.graph.regions import MARKS
from secateur.pipeline.structure.graph.rules import Call, Result, leaves, stays, traced_result
from secateur.pipeline.structure.graph.trace import OUTPUT, Trace
from secateur.pipeline.structure.graph.value import Value

UNUSED = "the model reads it neither in evaluation nor in training"
UNTRACED = "the model reads it in training only, which cannot be traced ({error}): what it reads may be removed"


def trace_model(model: nn.Module, example: ModelInputs) -> Trace:
    """What a model's graph says of its parameters, for any batch and the sample size of `example`.

    The graph is that of evaluation. Where it leaves layers out, such as auxiliary heads, that of training couples too.
    """
    trace = Trace(aliases_of(model))
    unread = Tracer(trace).run(exported(model, example), model)
    if unread:
        reason = UNUSED
        try:
            program = exported(model, example, training=True)
        except Exception as error:  # whatever a model's code raises is the reason why it cannot be traced
            reason = UNTRACED.format(error=" ".join(str(error).split())[:160])
        else:
            unread &= Tracer(trace.of_other_mode()).run(program, model)
        trace.unread.update((name, reason) for name in sorted(unread))
    return trace


class Tracer:
    """Runs through a program with label maps in place of tensors, and writes a trace."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self._any_batch = False

    def run(self, program: ExportedProgram, model: nn.Module) -> set[str]:
        """Follows a whole program of a model, whose results keep their shapes; the weights that it never reads."""
        self.trace.entries.update(normalising(program, model))
        for value in leaves(self.follow(program.graph_module, dict(self._inputs(program)))):
            if isinstance(value, Value):
                for labels in value.maps:
                    self.trace.coupling.fix(labels, OUTPUT)
        read = {name for node, name in self.trace.names.items() if node.users}
        tensors = self.trace.tensors.items()
        weights = {name for name, dims in tensors if name.rpartition(".")[2] == "weight" and len(dims) > 1}
        return weights - read

    def _inputs(self, program: ExportedProgram) -> Iterator[tuple[fx.Node, Any]]:
        """What is known of the program's placeholders: parameters, buffers, constants, and the model's own inputs."""
        kinds = {entry.arg.name: entry for entry in program.graph_signature.input_specs}
        state = {**program.state_dict, **program.constants}
        for node in program.graph.nodes:
            if node.op != "placeholder":
                continue
            self.trace.ancestry.add(node)
            entry = kinds[node.name]
            if entry.kind not in (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR):
                value = node.meta.get("val")
                self._any_batch |= _has_open_length(node)
                yield node, Value(lengths(value), computed=True) if isinstance(value, Tensor) else value
                continue
            tensor = state[entry.target].detach()
            if entry.kind == InputKind.CONSTANT_TENSOR:
                yield node, Value(tuple(tensor.shape), (), tensor)
            else:
                name = self.trace.aliases.get(str(entry.target), str(entry.target))
                self.trace.names[node] = name
                yield node, self.trace.parameter(name, tensor, entry.kind == InputKind.BUFFER)

    def follow(self, graph: fx.GraphModule, inputs: Mapping[fx.Node, Any]) -> Any:
        """What a graph returns, given the values of its placeholders."""
        values = self.trace.values
        self.trace.places.update(places_in(graph.graph))
        read = _read(graph.graph)
        for node in graph.graph.nodes:
            if node.op == "placeholder":
                values[node] = inputs[node]
                continue
            self.trace.ancestry.add(node)
            if node.op == "get_attr":
                found: Any = graph
                for part in str(node.target).split("."):
                    found = getattr(found, part)
                values[node] = Value(tuple(found.shape), (), found) if isinstance(found, Tensor) else found
            elif node.op == "output":
                return fx.map_arg(node.args[0], values.__getitem__)
            else:
                values[node] = self._operation(node, self.trace if node in read else self.trace.aside)
        return ()

    def _operation(self, node: fx.Node, trace: Trace) -> Any:
        """What is known of an operation's result; what it couples goes into a trace."""
        args: Any = fx.map_arg(node.args, self.trace.values.__getitem__)
        kwargs: Any = fx.map_arg(node.kwargs, self.trace.values.__getitem__)
        target: Any = node.target
        call = Call(operation_of(node), module_of(node), target, tuple(args), kwargs, node)
        if call.name == "sym_size":
            return args[0].shape[args[1]]
        if target in MARKS:
            return None
        values, counted = call.values(), len(self.trace.costs)
        if not values and not str(target).startswith("aten."):
            return target(*args, **kwargs)  # arithmetic on lengths
        if call.name != "getitem" and not any(value.maps or value.computed for value in values):
            result = _constant(trace, call, values)
        else:
            rule = RULES.find(call.name)
            result = rule(trace, call) if rule else stays(trace, call, call.name)
        if self._any_batch and not any(map(_has_open_length, (node, *node.all_input_nodes))):  # once for all samples
            self.trace.costs[counted:] = [cost.times(SAMPLES) for cost in self.trace.costs[counted:]]
        if _writes(call.name) and isinstance(node.args[0], fx.Node):
            self.trace.values[node.args[0]] = result
        return result


def _writes(operation: str) -> bool:
    """Whether an operation writes into the tensor that it is given."""
    return operation.endswith("_") and not operation.startswith("_")


def _read(graph: fx.Graph) -> set[fx.Node]:
    """The nodes that the output is computed from: not the weights of attention, say, that its caller leaves."""
    found: set[fx.Node] = set()
    for node in reversed(graph.nodes):
        if node.op == "output" or node in found or _writes(operation_of(node)):
            found.update((node, *node.all_input_nodes))
    return found


def _has_open_length(node: fx.Node) -> bool:
    """Whether some tensor of a node has a length that depends on the batch."""
    tensors = [leaf for leaf in leaves([node.meta.get("val")]) if isinstance(leaf, Tensor)]
    sizes: list[Any] = [size for tensor in tensors for size in tensor.shape if not isinstance(size, int)]
    return any(size.node.expr.free_symbols for size in sizes)  # none where the model's code fixes the batch


def _constant(trace: Trace, call: Call, values: Sequence[Value]) -> Result:
    """The result of numbers alone; they are kept where they are whole, since they may index something."""
    trace.count(call.operation, call.module, macs_of(call.operation, *call.plain()) or 0)
    found = call.node.meta["val"]
    data: Any = None
    if all(value.data is not None for value in values) and isinstance(found, Tensor):
        # copies, since what is written in place is the model's own
        args, kwargs = tree_map(
            lambda leaf: leaf.data.clone() if isinstance(leaf, Value) and leaf.data is not None else leaf,
            (call.args, dict(call.kwargs)),
        )
        data = call.target(*args, **kwargs)
    result = traced_result(call, computed=False)
    return Value(result.shape, (), data) if isinstance(result, Value) else result
