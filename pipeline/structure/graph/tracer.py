"""Follows the labels of all parameters through a traced model, one operation after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.utils._pytree import tree_map

from secateur.core.modules import evaluating
from secateur.pipeline.structure.graph.coupling import Coupling
from secateur.pipeline.structure.graph.unify import Cost
from secateur.pipeline.structure.graph.value import Value
from secateur.pipeline.structure.groups import Role

Result = Value | tuple[Any, ...]
Rule = Callable[["Tracer", "Call"], Result]
RULES: dict[str, Rule] = {}
SAMPLES = 2
"""The batch of the traced example; with 1, lengths that come from the batch would look like constants."""
INPLACE = "_"


@dataclass(frozen=True)
class Call:
    """One operation of the graph with what is known of its arguments; `module` is the path of its innermost module."""

    name: str
    module: str
    target: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    node: fx.Node

    def get(self, index: int, name: str, default: Any = None) -> Any:
        """An argument by its position or name."""
        if index < len(self.args):
            return self.args[index]
        return self.kwargs.get(name, default)

    def values(self) -> list[Value]:
        """All tensors among the arguments, also those in lists."""
        return [leaf for leaf in _leaves((*self.args, *self.kwargs.values())) if isinstance(leaf, Value)]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the (first) result."""
        found = self.node.meta["val"]
        return lengths(found[0] if isinstance(found, (tuple, list)) else found)


@dataclass
class Tracer:
    """What one pass through the graph collects.

    `tensors` has the labels of every dimension of each floating-point parameter and buffer (none where the length is
    1). `roles` says of (tensor, dim) what a layer does with it, `owners` which module's call reads a weight, and
    `norms` which normalising modules see which labels.
    """

    coupling: Coupling = field(default_factory=Coupling)
    tensors: dict[str, tuple[Tensor | None, ...]] = field(default_factory=dict)
    roles: dict[tuple[str, int], Role] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    norms: dict[str, list[Tensor]] = field(default_factory=dict)
    costs: list[Cost] = field(default_factory=list)
    values: dict[fx.Node, Any] = field(default_factory=dict)
    names: dict[fx.Node, str] = field(default_factory=dict)
    normalising: frozenset[str] = frozenset()
    heads: list[Tensor] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)
    _past: dict[fx.Node, int] = field(default_factory=dict)

    def parameter(self, name: str, tensor: Tensor) -> Value:
        """A parameter or buffer, each of its dimensions with labels of its own."""
        if not tensor.is_floating_point():
            return Value(tuple(tensor.shape), (), tensor)
        labels = self.tensors.setdefault(
            name, tuple(self.coupling.fresh(size) if size > 1 else None for size in tensor.shape)
        )
        maps = []
        for dim, found in enumerate(labels):
            if found is not None:
                shape = [1] * tensor.ndim
                shape[dim] = tensor.shape[dim]
                maps.append(found.reshape(shape))
        return Value(tuple(tensor.shape), tuple(maps))

    def role(self, node: Any, dim: int, role: Role) -> None:
        """Says what an operation does with one dimension of the parameter that a node stands for."""
        if isinstance(node, fx.Node) and node in self.names:
            self.roles.setdefault((self.names[node], dim), role)

    def normalised(self, module: str, labels: Tensor) -> None:
        """Notes that a module normalises over the dimensions of a label map; only some modules can with fewer units."""
        if module not in self.normalising:
            self.coupling.fix(labels, f"{module}: a statistic is taken over it")
        self.coupling.mark(labels, "norm")
        self.norms.setdefault(module, []).append(labels)

    def residual(self, one: fx.Node, two: fx.Node) -> bool:
        """Whether one of two values was computed from the other."""
        return bool(self._past[one] >> self._number(two) & 1 or self._past[two] >> self._number(one) & 1)

    def run(self, program: ExportedProgram, aliases: Mapping[str, str]) -> None:
        """Follows a whole program; its outputs keep their shape. `aliases` has the first name of a shared tensor."""
        self.aliases = dict(aliases)
        names = {}
        state = {**program.state_dict, **program.constants}
        for entry in program.graph_signature.input_specs:
            if entry.kind in (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR):
                names[entry.arg.name] = (str(entry.target), entry.kind)
        inputs: dict[fx.Node, Any] = {}
        for node in program.graph.nodes:
            if node.op != "placeholder":
                continue
            if node.name not in names:
                value = node.meta.get("val")
                inputs[node] = Value(lengths(value), computed=True) if isinstance(value, Tensor) else value
                continue
            name, kind = names[node.name]
            tensor = state[name].detach()
            if kind == InputKind.CONSTANT_TENSOR:
                inputs[node] = Value(tuple(tensor.shape), (), tensor)
            else:
                name = aliases.get(name, name)
                self.names[node] = name
                inputs[node] = self.parameter(name, tensor)
        for value in _leaves(self.follow(program.graph_module, inputs, "")):
            if isinstance(value, Value):
                for labels in value.maps:
                    self.coupling.fix(labels, "it is an output of the model")

    def follow(self, graph: fx.GraphModule, inputs: Mapping[fx.Node, Any], module: str) -> Any:
        """What a graph returns, given the values of its placeholders."""
        for node in graph.graph.nodes:
            past = 1 << self._number(node)
            for source in node.all_input_nodes:
                past |= self._past.get(source, 0)
            self._past[node] = past
            if node.op == "placeholder":
                self.values[node] = inputs[node]
            elif node.op == "get_attr":
                found: Any = graph
                for part in str(node.target).split("."):
                    found = getattr(found, part)
                self.values[node] = Value(tuple(found.shape), (), found) if isinstance(found, Tensor) else found
            elif node.op == "output":
                return fx.map_arg(node.args[0], self.values.__getitem__)
            else:
                self.values[node] = self._call(node, _module_of(node) or module)
        return ()

    def _call(self, node: fx.Node, module: str) -> Any:
        args: Any = fx.map_arg(node.args, self.values.__getitem__)
        kwargs: Any = fx.map_arg(node.kwargs, self.values.__getitem__)
        target: Any = node.target
        aten = str(target).startswith("aten.")
        name = str(target).split(".")[1] if aten else str(getattr(target, "__name__", target))
        call = Call(name, module, target, tuple(args), kwargs, node)
        inplace = name.endswith(INPLACE) and not name.startswith("_")
        rule = RULES.get(name) or RULES.get(name.removesuffix(INPLACE)) or _unknown
        values = call.values()
        if name == "sym_size":
            return args[0].shape[args[1]]
        if not values and not aten:
            return target(*args, **kwargs)  # arithmetic on lengths
        if name != "getitem" and not any(value.maps or value.computed for value in values):
            result = _constant(call, values)
        else:
            result = rule(self, call)
        if inplace and isinstance(node.args[0], fx.Node):
            self.values[node.args[0]] = result
        return result

    def _number(self, node: fx.Node) -> int:
        return self._numbers.setdefault(node, len(self._numbers))

    _numbers: dict[fx.Node, int] = field(default_factory=dict)


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Registers what some operations do to labels; their in-place forms (`add_`) do the same."""

    def register(function: Rule) -> Rule:
        for name in names:
            RULES[name] = function
        return function

    return register


def plain(call: Call, maps: Sequence[Tensor] = (), computed: bool = True) -> Result:
    """Results of the shapes that were traced, with the same maps in each."""
    found = call.node.meta["val"]
    if isinstance(found, (tuple, list)):
        return tuple(
            Value(lengths(part), tuple(maps), None, computed) if isinstance(part, Tensor) else part for part in found
        )
    return Value(lengths(found), tuple(maps), None, computed) if isinstance(found, Tensor) else found


def _unknown(tracer: Tracer, call: Call) -> Result:
    """An operation that no rule speaks of: all that goes into it stays as it is."""
    for value in call.values():
        for labels in value.maps:
            tracer.coupling.fix(labels, f"{call.module}: secateur cannot follow units through {call.name}")
    return plain(call)


def _constant(call: Call, values: Sequence[Value]) -> Result:
    """The result of numbers alone; they are kept where they are whole, since they may index something."""
    found = call.node.meta["val"]
    data: Any = None
    if all(value.data is not None for value in values) and isinstance(found, Tensor):
        args, kwargs = tree_map(
            lambda leaf: leaf.data if isinstance(leaf, Value) else leaf, (call.args, dict(call.kwargs))
        )
        data = call.target(*args, **kwargs)
    result = plain(call, computed=False)
    return Value(result.shape, (), data) if isinstance(result, Value) else result


def _leaves(tree: Any) -> list[Any]:
    if isinstance(tree, (tuple, list)):
        return [leaf for part in tree for leaf in _leaves(part)]
    if isinstance(tree, dict):
        return [leaf for part in tree.values() for leaf in _leaves(part)]
    return [tree]


def lengths(tensor: Tensor) -> tuple[int, ...]:
    """The shape of a traced tensor, the batch having the length of the example."""
    return tuple(size if isinstance(size, int) else int(size.node.hint) for size in tensor.shape)


def stack_of(node: fx.Node) -> list[tuple[str, str]]:
    """The modules whose forward runs a node, outermost first: a key for the call, and the module's path."""
    stack = node.meta.get("nn_module_stack") or {}
    return [(str(key), str(path).split("@")[0]) for key, (path, _) in stack.items()]


def _module_of(node: fx.Node) -> str:
    """The path of the innermost module whose forward runs a node."""
    stack = stack_of(node)
    return stack[-1][1] if stack else ""


def aliases_of(model: nn.Module) -> dict[str, str]:
    """For every name of a parameter or buffer the first name of the same tensor, which is that of its labels."""
    first: dict[int, str] = {}
    every = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    return {name: first.setdefault(id(tensor), name) for name, tensor in every}


def trace(model: nn.Module, example: Tensor) -> ExportedProgram:
    """The model's graph of ATen operations in evaluation mode, for any batch and the sample size of `example`."""
    with evaluating(model), torch.no_grad():
        batch = torch.cat([example[:1]] * SAMPLES)
        return torch.export.export(model, (batch,), dynamic_shapes=({0: torch.export.Dim.AUTO},), strict=False)
