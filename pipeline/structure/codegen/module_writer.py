"""Writes the code of one module anew from the graph: its own operations one by one, its children as calls."""

from __future__ import annotations

import inspect
import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sympy
import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves, tree_map

from secateur.pipeline.structure.codegen.calls import CodeError, RecordedCall, is_plain
from secateur.pipeline.structure.codegen.sizes import CHANGES, Sizes, name_of
from secateur.pipeline.structure.graph.tracer import Tracer, stack_of
from secateur.pipeline.structure.graph.value import Value


@dataclass(frozen=True)
class Stack:
    """A tensor whose slices along `dim` would differ in size: the slices one by one, each of length 1 there."""

    parts: tuple[fx.Node, ...]
    dim: int


class ModuleWriter:
    """Writes one module's forward function for the sizes that are left.

    `small` is the module with its parameters already cut, `calls` how the modules of the dense model were called.
    """

    def __init__(self, tracer: Tracer, sizes: Sizes, small: nn.Module, calls: Mapping[str, list[RecordedCall]]) -> None:
        self.tracer, self.sizes, self.small, self.calls = tracer, sizes, small, calls
        self.name = sizes.module
        self.values = tracer.values
        self.graph = fx.Graph()
        self.env: dict[fx.Node, Any] = {}
        self.constants: dict[str, Tensor] = {}
        self.own = {
            first: name.removeprefix(f"{self.name}.")
            for name, first in tracer.aliases.items()
            if name.startswith(f"{self.name}.")
        }
        self.nodes = [node for node in self.values if node.op == "call_function" and self._depth(node) is not None]
        keys = {stack_of(node)[self._depth(node) or 0][0] for node in self.nodes}
        if len(keys) != 1 or len(calls[self.name]) != 1:
            raise CodeError(self.name, f"it runs {len(calls[self.name])} times in one forward pass")

    def module(self) -> nn.Module | None:
        """The module with the new code; None where neither a number in it nor its input changes."""
        outputs, result = self._leaving(self.nodes), self.calls[self.name][0].result
        tensors = sum(isinstance(leaf, Tensor) for leaf in tree_leaves(result))
        if len(outputs) != 1 or tensors != 1:
            raise CodeError(self.name, f"it returns {max(tensors, len(outputs))} tensors instead of one")
        self._inputs()
        self.changed = any(self._smaller(source) for source in self._entering(self.nodes))
        done: set[str] = set()
        for node in self.nodes:
            if node in self.env:
                continue
            child = self._child(node)
            if child is None:
                self._operation(node)
            elif child[0] not in done:
                done.add(child[0])
                self._call(*child)
        if not self.changed:
            return None
        self.graph.output(tree_map(lambda leaf: self.env[outputs[0]] if isinstance(leaf, Tensor) else leaf, result))
        for name, value in self.constants.items():
            self.small.register_buffer(name, value, persistent=False)
        module = fx.GraphModule(self.small, self.graph, type(self.small).__name__)
        return module.train(self.small.training)

    def _smaller(self, node: fx.Node) -> bool:
        """Whether an input loses units: code may derive sizes from those of its input."""
        value = self.values[node]
        return any(not bool(self.sizes.stays(labels).all()) for labels in value.maps)

    def _depth(self, node: fx.Node) -> int | None:
        """Where the module is in the stack of a node; None for nodes of other modules."""
        return next((depth for depth, (_, path) in enumerate(stack_of(node)) if path == self.name), None)

    def _child(self, node: fx.Node) -> tuple[str, str] | None:
        """The call of the outermost child within which a node runs and that can be called as it is."""
        for key, path in stack_of(node)[(self._depth(node) or 0) + 1 :]:
            seen = self.calls.get(path, [])
            inside = self._within(key)
            if seen and all(map(is_plain, seen)) and len(self._entering(inside)) == len(self._leaving(inside)) == 1:
                return key, path
        return None

    def _within(self, key: str) -> list[fx.Node]:
        return [node for node in self.nodes if any(found == key for found, _ in stack_of(node))]

    def _entering(self, nodes: list[fx.Node]) -> list[fx.Node]:
        """The tensors that some nodes read from elsewhere, parameters and constants of any batch aside."""
        inside = set(nodes)
        sources = dict.fromkeys(source for node in nodes for source in node.all_input_nodes if source not in inside)
        return [
            source
            for source in sources
            if isinstance(self.values[source], Value)
            and source not in self.tracer.names
            and (self.values[source].data is None or _has_batch(source))
        ]

    def _leaving(self, nodes: list[fx.Node]) -> list[fx.Node]:
        """The tensors among some nodes that others read; lengths are read off tensors again."""
        inside = set(nodes)
        return [
            node
            for node in nodes
            if isinstance(self.values[node], Value) and any(user not in inside for user in node.users)
        ]

    def _call(self, key: str, path: str) -> None:
        inside = self._within(key)
        (source,), (result,) = self._entering(inside), self._leaving(inside)
        self.env[result] = self.graph.call_module(path.removeprefix(f"{self.name}."), (self._value(source),))
        for node in inside:
            self.env.setdefault(node, None)

    def _inputs(self) -> None:
        """Placeholders for the arguments of the forward function, matched with the nodes that they stand for."""
        seen = self.calls[self.name][0]
        foreign = [
            source
            for source in dict.fromkeys(source for node in self.nodes for source in node.all_input_nodes)
            if source in self.tracer.names and self.tracer.names[source] not in self.own
        ]
        wanted = [*self._entering(self.nodes), *foreign]
        signature = inspect.signature(self.small.forward)
        given = signature.bind(*seen.args, **seen.kwargs).arguments
        for parameter in signature.parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            default = () if parameter.default is parameter.empty else (parameter.default,)
            holder = self.graph.create_node("placeholder", parameter.name, args=default, name=parameter.name)
            argument = given.get(parameter.name)
            if isinstance(argument, Tensor):
                shape = tuple(argument.shape)
                match = next((node for node in wanted if self.values[node].shape == shape), None)
                if match is not None:
                    wanted.remove(match)
                    self.env[match] = holder
        for node in wanted:
            data = self.values[node].data
            if data is None or node.meta["val"].shape[1:] != data.shape[1:] or not torch.equal(data[:1], data[1:]):
                raise CodeError(self.name, f"it reads {node.name}, which is none of its arguments")
            length = self._length(node.meta["val"].shape[0])
            self.env[node] = self.graph.call_function(
                torch.ops.aten.expand.default, (self._constant(data[:1]), [length, *data.shape[1:]])
            )

    def _value(self, node: fx.Node) -> Any:
        """What stands for a node of the traced graph."""
        if self.env.get(node) is not None:
            return self.env[node]
        value = self.values[node]
        if node in self.tracer.names:
            self.env[node] = self.graph.get_attr(self.own[self.tracer.names[node]])
        elif isinstance(value, Value) and value.data is not None:
            self.env[node] = self._constant(value.data)
        elif isinstance(value, int):
            self.env[node] = self._length(node.meta["val"])
        else:
            raise CodeError(self.name, f"it reads {node.name}, which is not known to it")
        return self.env[node]

    def _constant(self, data: Tensor) -> fx.Node:
        """Numbers that the code reads, kept with the module."""
        name = f"traced_{len(self.constants)}"
        self.constants[name] = data
        self.small.register_buffer(name, data, persistent=False)
        return self.graph.get_attr(name)

    def _length(self, length: torch.SymInt) -> fx.Node:
        """A length that depends on the batch, computed from one of a tensor that is at hand."""
        wanted = length.node.expr
        for known, copy in self.env.items():
            found = known.meta.get("val")
            if not isinstance(copy, fx.Node) or not isinstance(found, Tensor):
                continue
            for dim, size in enumerate(found.shape):
                ratio = None if isinstance(size, int) else sympy.simplify(wanted / size.node.expr)
                if isinstance(ratio, sympy.Rational):
                    one = self.graph.call_function(torch.ops.aten.sym_size.int, (copy, dim))
                    many = self.graph.call_function(operator.mul, (one, int(ratio.p)))
                    return self.graph.call_function(operator.floordiv, (many, int(ratio.q)))
        raise CodeError(self.name, "it uses a length that none of its inputs has")

    def _operation(self, node: fx.Node) -> None:
        args: Any = list(node.args)
        kwargs: Any = dict(node.kwargs)
        target: Any = node.target
        if target is operator.getitem and isinstance(self.env.get(args[0]), tuple):
            self.env[node] = self.env[args[0]][args[1]]
            return
        if self._stacked(node, args):
            self.changed = True
            return
        change = CHANGES.get(name_of(node))
        new = change(self.sizes, node, list(args), kwargs) if change is not None else None
        if new is not None:
            self.changed = True
            target, args, kwargs = new
        if name_of(node) in ("view", "reshape", "expand"):
            args[1] = _inferred(args[1])
        self.env[node] = self.graph.call_function(
            target, fx.map_arg(tuple(args), self._value), fx.map_arg(kwargs, self._value)
        )

    def _stacked(self, node: fx.Node, args: Any) -> bool:
        """Writes operations on slices of unequal size: what makes them, moves them, and takes them apart."""
        name = name_of(node)
        stack = self.env.get(args[0]) if args and isinstance(args[0], fx.Node) else None
        if not isinstance(stack, Stack):
            if name not in ("view", "reshape", "unflatten") or (dim := self.sizes.unequal(self.values[node])) is None:
                return False
            self.env[node] = self._apart(node, args[0], dim)
            return True
        rank = len(self.values[args[0]].shape)
        if name == "permute":
            self.env[node] = self._each(node, stack, [at % rank for at in args[1]].index(stack.dim))
        elif name == "transpose":
            one, two = (at % rank for at in args[1:3])
            self.env[node] = self._each(node, stack, {one: two, two: one}.get(stack.dim, stack.dim))
        elif name in ("contiguous", "clone", "alias"):
            self.env[node] = self._each(node, stack, stack.dim)
        elif name == "unbind" and (args[1] if len(args) > 1 else 0) % rank == stack.dim:
            self.env[node] = tuple(self._select(part, stack.dim) for part in stack.parts)
        elif name == "select" and args[1] % rank == stack.dim:
            self.env[node] = self._select(stack.parts[args[2]], stack.dim)
        else:
            raise CodeError(self.name, "it computes heads of one width only")
        return True

    def _apart(self, node: fx.Node, source: fx.Node, dim: int) -> Stack:
        """A reshape of the last dimension `[..., 3 * heads * dims]`, one part after the other."""
        value = self.values[node]
        if value.shape[:dim] != self.values[source].shape[:-1]:
            raise CodeError(self.name, "it computes heads of one width only")
        shapes = [self.sizes.slice(value, dim, index)[dim:] for index in range(value.shape[dim])]
        lengths = [math.prod(shape) for shape in shapes]
        split = self.graph.call_function(torch.ops.aten.split_with_sizes.default, (self._value(source), lengths, -1))
        pieces = [self.graph.call_function(operator.getitem, (split, index)) for index in range(len(shapes))]
        parts = [
            self.graph.call_function(torch.ops.aten.unflatten.int, (piece, -1, shape))
            for piece, shape in zip(pieces, shapes, strict=True)
        ]
        return Stack(tuple(parts), dim)

    def _each(self, node: fx.Node, stack: Stack, dim: int) -> Stack:
        """The same operation on every slice."""
        target: Any = node.target
        rest: Any = node.args[1:]
        return Stack(
            tuple(self.graph.call_function(target, (part, *rest), {**node.kwargs}) for part in stack.parts), dim
        )

    def _select(self, part: fx.Node, dim: int) -> fx.Node:
        return self.graph.call_function(torch.ops.aten.select.int, (part, dim, 0))


def _has_batch(node: fx.Node) -> bool:
    """Whether the shape of a tensor depends on the batch."""
    return any(not isinstance(size, int) for size in node.meta["val"].shape)


def _inferred(shape: Any) -> list[Any]:
    """A shape whose only length from the batch is left to be inferred."""
    known = list(shape)
    unknown = [index for index, size in enumerate(known) if isinstance(size, fx.Node)]
    if len(unknown) == 1 and -1 not in known:
        known[unknown[0]] = -1
    return known
