"""Writes the code of one module anew from the graph: its own operations one by one, its children as calls."""

from __future__ import annotations

import inspect
import operator
from typing import Any

import sympy
import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves, tree_map

from secateur.pipeline.structure.codegen.calls import CodeError
from secateur.pipeline.structure.codegen.resized_ops import Operation, resized
from secateur.pipeline.structure.codegen.sizes import RemainingSizes
from secateur.pipeline.structure.codegen.stacked import Stack, write_apart, write_stacked
from secateur.pipeline.structure.codegen.subgraph import Subgraph
from secateur.pipeline.structure.graph.program import operation_of
from secateur.pipeline.structure.graph.value import Value


class ModuleWriter:
    """Writes one module's forward function for the sizes that are left.

    `subgraph` is its part of the traced graph, `small` the module with its parameters already cut. In `copies` a node
    of the traced graph has what stands for it in the new one: a node, a stack of slices, or several results.
    """

    def __init__(self, subgraph: Subgraph, sizes: RemainingSizes, small: nn.Module) -> None:
        self.subgraph, self.sizes, self.small = subgraph, sizes, small
        self.name = subgraph.name
        self.values = subgraph.trace.values
        self.graph = fx.Graph()
        self.copies: dict[fx.Node, Any] = {}
        self.constants: dict[str, Tensor] = {}
        self.changed = False

    def module(self) -> nn.Module | None:
        """The module with the new code; None where neither a number in it nor its input changes.

        Raises `CodeError` for code that cannot be taken over.
        """
        nodes, result = self.subgraph.nodes, self.subgraph.call.result
        outputs = self.subgraph.leaving(nodes)
        tensors = sum(isinstance(leaf, Tensor) for leaf in tree_leaves(result))
        if len(outputs) != 1 or tensors != 1:
            raise CodeError(self.name, f"it returns {max(tensors, len(outputs))} tensors instead of one")
        self._inputs()
        self.changed = any(self._smaller(source) for source in self.subgraph.entering(nodes))
        done: set[str] = set()
        for node in nodes:
            if node in self.copies:
                continue
            child = self.subgraph.child(node)
            if child is None:
                self._operation(node)
            elif child[0] not in done:
                done.add(child[0])
                self._child(*child)
        if not self.changed:
            return None
        self.graph.output(tree_map(lambda leaf: self.copies[outputs[0]] if isinstance(leaf, Tensor) else leaf, result))
        for name, value in self.constants.items():
            self.small.register_buffer(name, value, persistent=False)
        return fx.GraphModule(self.small, self.graph, type(self.small).__name__)

    def _smaller(self, node: fx.Node) -> bool:
        """Whether an input loses units: code may derive sizes from those of its input."""
        return any(not bool(self.sizes.stays(labels).all()) for labels in self.values[node].maps)

    def _inputs(self) -> None:
        """Placeholders for the arguments of the forward function, matched with the nodes that they stand for."""
        call = self.subgraph.call
        wanted = [*self.subgraph.entering(self.subgraph.nodes), *self.subgraph.foreign()]
        signature = inspect.signature(self.small.forward)
        given = signature.bind(*call.args, **call.kwargs).arguments
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
                    self.copies[match] = holder
        for node in wanted:
            self.copies[node] = self._repeated(node)

    def _repeated(self, node: fx.Node) -> fx.Node:
        """A constant that was made elsewhere, the same for every sample of a batch."""
        data = self.values[node].data
        if data is None or node.meta["val"].shape[1:] != data.shape[1:] or not torch.equal(data[:1], data[1:]):
            raise CodeError(self.name, f"it reads {node.name}, which is none of its arguments")
        shape = [self._length(node.meta["val"].shape[0]), *data.shape[1:]]
        return self.graph.call_function(torch.ops.aten.expand.default, (self._constant(data[:1]), shape))

    def _child(self, key: str, path: str) -> None:
        """A call of a child in place of all its nodes."""
        inside = self.subgraph.within(key)
        (source,), (result,) = self.subgraph.entering(inside), self.subgraph.leaving(inside)
        name = path.removeprefix(f"{self.name}.")
        self.copies[result] = self.graph.call_module(name, (self._copy(source),))
        for node in inside:
            self.copies.setdefault(node, None)

    def _operation(self, node: fx.Node) -> None:
        """Writes one operation, with the sizes that are left."""
        source = node.args[0] if node.args else None
        before = self.copies.get(source) if isinstance(source, fx.Node) else None
        if node.target is operator.getitem and isinstance(before, tuple):
            self.copies[node] = before[node.args[1]]  # type: ignore[index]  # getitem on a tuple has a number
            return
        if isinstance(before, Stack):
            self.copies[node], self.changed = write_stacked(self.graph, self.sizes, node, before), True
            return
        apart = write_apart(self.graph, self.sizes, node, self._copy)
        if apart is not None:
            self.copies[node], self.changed = apart, True
            return
        new = resized(self.sizes, node)
        self.changed = self.changed or new is not None
        written = new or Operation(node.target, node.args, node.kwargs)
        args = list(written.args)
        if operation_of(node) in ("view", "reshape"):
            args[1] = _inferred(args[1])
        self.copies[node] = self.graph.call_function(
            written.target, fx.map_arg(tuple(args), self._copy), fx.map_arg(dict(written.kwargs), self._copy)
        )

    def _copy(self, node: fx.Node) -> Any:
        """What stands for a node of the traced graph."""
        if self.copies.get(node) is not None:
            return self.copies[node]
        value, names = self.values[node], self.subgraph.trace.names
        if node in names:
            self.copies[node] = self.graph.get_attr(self.subgraph.own[names[node]])
        elif isinstance(value, Value) and value.data is not None:
            self.copies[node] = self._constant(value.data)
        elif isinstance(value, int):
            self.copies[node] = self._length(node.meta["val"])
        else:
            raise CodeError(self.name, f"it reads {node.name}, which is not known to it")
        return self.copies[node]

    def _constant(self, data: Tensor) -> fx.Node:
        """Numbers that the code reads, kept with the module."""
        name = f"traced_{len(self.constants)}"
        self.constants[name] = data
        self.small.register_buffer(name, data, persistent=False)
        return self.graph.get_attr(name)

    def _length(self, length: torch.SymInt) -> fx.Node:
        """A length that depends on the batch, computed from one of a tensor that is at hand."""
        wanted = length.node.expr
        for known, copy in self.copies.items():
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


def _inferred(shape: Any) -> Any:
    """A shape whose only length from the batch is left to be inferred."""
    if isinstance(shape, torch.dtype):
        return shape
    known = list(shape)
    unknown = [index for index, size in enumerate(known) if isinstance(size, fx.Node)]
    if len(unknown) == 1 and -1 not in known:
        known[unknown[0]] = -1
    return known
