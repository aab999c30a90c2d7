"""Writes the code of one module anew, for the sizes that are left: its operations one by one, its children as calls."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import GetAttrKey

from secateur.pipeline.structure.codegen.alignment import arguments_of
from secateur.pipeline.structure.codegen.body import ChildCall, has_tensors
from secateur.pipeline.structure.codegen.calls import PLAIN, CodeError
from secateur.pipeline.structure.codegen.conditions import by_mode, check_arguments, check_mode, check_names, check_same
from secateur.pipeline.structure.codegen.mode_regions import Region
from secateur.pipeline.structure.codegen.module_program import ModuleProgram
from secateur.pipeline.structure.codegen.nested import Key, leaves_with_keys, number_of, refilled
from secateur.pipeline.structure.codegen.resized_ops import Operation, copied, resized
from secateur.pipeline.structure.codegen.shuffled import shuffle_from
from secateur.pipeline.structure.codegen.sizes import RemainingSizes
from secateur.pipeline.structure.codegen.stacked import Stack, write_apart, write_stacked
from secateur.pipeline.structure.codegen.written_module import write_forward
from secateur.pipeline.structure.graph.contraction_ops import MATRIX_PRODUCTS
from secateur.pipeline.structure.graph.elementwise_ops import PRODUCTS
from secateur.pipeline.structure.graph.program import lengths as shape_of
from secateur.pipeline.structure.graph.program import operation_of
from secateur.pipeline.structure.graph.regions import MARKS, end_of
from secateur.pipeline.structure.graph.value import Value

_SKIPPED = ("_assert_tensor_metadata",)
STARS: dict[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}


class ModuleWriter:
    """Writes one module's forward function.

    `program` is its graph, `small` the module with its parameters already cut. In `copies` a node of the program has
    what stands for it in the new graph: a node, a stack of slices, or several results.
    """

    def __init__(self, program: ModuleProgram, sizes: RemainingSizes, small: nn.Module) -> None:
        self.program, self.sizes, self.small = program, sizes, small
        self.name = program.name
        self.graph = fx.Graph()
        self.copies: dict[fx.Node, Any] = {}
        self.constants: dict[str, Tensor] = {}
        self.positions: dict[tuple[int, ...], fx.Node] = {}
        self._shuffled: set[fx.Node] = set()
        self._begun: list[tuple[Region, fx.Node]] = []
        self.changed = False

    def write(self) -> str:
        """Writes the graph, and returns its code; `changed` says whether a number in it or its input is another now.

        Raises `CodeError` for code that cannot be taken over.
        """
        self.changed = any(map(self._smaller, self.program.own.inputs.values()))
        self._arguments()
        calls = [step for step in self.program.body.steps if isinstance(step, ChildCall)]
        children = {node: step for step in calls for node in step.nodes}
        for node in self.program.own.graph.nodes:
            if node.op != "call_function" or operation_of(node) in _SKIPPED:
                continue
            child = children.get(node)
            if self.program.regions and has_tensors(node) and (child is None or node is child.result):
                self._within(self.program.regions.get(node, ()))
            if child is None:
                self._operation(node)
            elif node is child.result:
                self._call(child)
        self._within(())
        leaves = (self._copy(leaf) if isinstance(leaf, fx.Node) else leaf for leaf in self.program.own.results)
        self.graph.output(refilled(self.program.call.result, leaves, self.graph.call_function))
        for node in reversed(self.graph.nodes):  # lengths that only the children's own code needs
            if not node.users and operation_of(node) == "sym_size":
                self.graph.erase_node(node)
        return self.graph.python_code("self").src

    def _call(self, child: ChildCall) -> None:
        """Calls a child as it was called; what it returns besides a tensor is of no use."""
        source = self._copy(child.source)
        leaves = [source if isinstance(leaf, Tensor) else leaf for leaf in child.call.leaves]
        args, kwargs = refilled((child.call.args, dict(child.call.kwargs)), iter(leaves), self.graph.call_function)
        returned = leaves_with_keys(child.call.result)
        keys = next(keys for keys, leaf in returned if isinstance(leaf, Tensor))
        self.copies[child.result] = self._at(self.graph.call_module(child.path, args, kwargs), keys)

    def replace_code(self) -> None:
        """Gives the small module the code that was written."""
        for name, value in self.constants.items():
            self.small.register_buffer(name, value, persistent=False)
        write_forward(self.small, self.graph)

    def _smaller(self, node: fx.Node) -> bool:
        """Whether an input loses units: code may derive sizes from those of its input."""
        value = self.program.values.get(node)
        return isinstance(value, Value) and any(not bool(self.sizes.stays(labels).all()) for labels in value.maps)

    def _arguments(self) -> None:
        """Placeholders for the arguments, what leads from them to the inputs, and a check of how they are passed."""
        holders: dict[str, fx.Node] = {}
        given: dict[str, fx.Node] = {}
        constants: list[tuple[str, Any]] = []
        passed = {leaf.parameter for leaf in self.program.leaves}
        for parameter in inspect.signature(self.small.forward).parameters.values():
            default = () if parameter.default is parameter.empty else (parameter.default,)
            name = parameter.name
            written = STARS.get(parameter.kind, "") + name
            holders[name] = self.graph.create_node("placeholder", written, default, {}, name)
            if parameter.kind in STARS:
                self._check_names(name, holders[name])
            elif name not in passed and default and isinstance(parameter.default, PLAIN):
                given[name] = holders[name]
                constants.append((name, parameter.default))
        leaves, own = self.program.leaves, self.program.own
        taken = [self._at(holders[leaf.parameter], leaf.keys) for leaf in leaves]
        inputs = {str(leaves[number]): taken[number] for number in own.inputs}
        for number, (leaf, value) in enumerate(zip(leaves, self.program.call.leaves, strict=True)):
            if number not in own.inputs and isinstance(value, PLAIN):
                given[str(leaf)] = taken[number]
                constants.append((str(leaf), value))
        lengths = [(str(leaves[number]), *item) for number, dims in self.program.fixed_by_leaf for item in dims.items()]
        found = [(str(leaves[number]), node.meta.get("val")) for number, node in own.inputs.items()]
        samples = [(name, shape_of(value)[0]) for name, value in found if isinstance(value, Tensor) and value.ndim]
        if lengths or constants or own.guards:
            checks = (self.name, inputs, given, tuple(lengths), tuple(constants), own.guards, tuple(samples))
            self.graph.call_function(check_arguments, checks)
        if not own.training:
            self.graph.call_function(check_mode, (self.name, self.graph.get_attr("training")))
        for number, node in own.inputs.items():
            self.copies[node] = taken[number]
        for number, first in enumerate(self.program.call.firsts):
            if first != number:
                words = (self.name, str(leaves[first]), str(leaves[number]))
                self.graph.call_function(check_same, (*words, taken[first], taken[number]))
        for node in reversed(self.graph.nodes):  # what is passed and not read
            if not node.users and node.target in (operator.getitem, getattr):
                self.graph.erase_node(node)

    def _check_names(self, parameter: str, holder: fx.Node) -> None:
        """A check that `*args` or `**kwargs` hold what they did."""
        keys = [leaf.keys[0] for leaf in self.program.leaves if leaf.parameter == parameter]
        expected = dict.fromkeys(number_of(key) for key in keys if not isinstance(key, GetAttrKey))
        self.graph.call_function(check_names, (self.name, parameter, holder, tuple(expected)))

    def _at(self, found: fx.Node, keys: tuple[Key, ...]) -> fx.Node:
        """What keys lead to in what a node stands for."""
        for key in keys:
            if isinstance(key, GetAttrKey):
                found = self.graph.call_function(getattr, (found, key.name))
            else:
                found = self.graph.call_function(operator.getitem, (found, number_of(key)))
        return found

    def _operation(self, node: fx.Node) -> None:
        """Writes one operation, with the sizes that are left."""
        if node.target in MARKS:
            if not self.program.regions:
                self._mark(node)
            return
        if shuffle := None if node in self._shuffled else shuffle_from(self.sizes, node):
            self._shuffled.update(shuffle.nodes)
            copy = self._copy(shuffle.source)
            self.copies[shuffle.nodes[-1]] = self._selected(shuffle.source, copy, shuffle.dim, shuffle.positions)
        if node in self._shuffled:
            return
        source = node.args[0] if node.args else None
        before = self.copies.get(source) if isinstance(source, fx.Node) else None
        if node.target is operator.getitem and isinstance(before, tuple):
            self.copies[node] = before[node.args[1]]  # type: ignore[index]  # getitem on a tuple has a number
            return
        if isinstance(before, Stack):
            self.copies[node], self.changed = write_stacked(self.graph, self.sizes, node, before, self._copy), True
            return
        apart = write_apart(self.graph, self.sizes, node, self._copy)
        if apart is not None:
            self.copies[node], self.changed = apart, True
            return
        new = resized(self.sizes, node)
        self.changed = self.changed or new is not None
        written = self._by_mode(node, new or Operation(node.target, node.args, node.kwargs))
        args = list(written.args)
        if operation_of(node) in ("view", "reshape"):
            args[1] = _inferred(args[1])
        name = operation_of(node).removesuffix("_")
        if pick := self.sizes.picked if name in PRODUCTS else self.sizes.repeated if name in MATRIX_PRODUCTS else None:
            args = [self._picked(arg, node, pick) if isinstance(arg, fx.Node) else arg for arg in args]
        arguments = copied(self.graph, (tuple(args), dict(written.kwargs)), self._copy)
        self.copies[node] = self.graph.call_function(written.target, *arguments)

    def _mark(self, node: fx.Node) -> None:
        """Begins or ends a region."""
        first, *others = node.args
        begun = first if isinstance(first, fx.Node) else None  # what an end belongs to
        args = (self._copy(begun) if begun else self._device(first), *others)
        self.copies[node] = self.graph.create_node("call_function", node.target, args)

    def _device(self, device: Any) -> Any:
        """The first argument of a region: the input in place of a device type that is its own in the graph."""
        tensors = [(number, own) for number, own in self.program.own.inputs.items() if has_tensors(own)]
        if tensors and device == tensors[0][1].meta["val"].device.type:
            return self.copies[tensors[0][1]]
        return device

    def _within(self, regions: Sequence[Region]) -> None:
        """Ends and begins regions, so that what follows lies in these, each in the mode that it belongs to."""
        same = 0
        while same < min(len(regions), len(self._begun)) and self._begun[same][0] == regions[same]:
            same += 1
        while len(self._begun) > same:
            self.graph.call_function(end_of, (self._begun.pop()[1],))
        for region in regions[same:]:
            applies: dict[str, Any] = {}
            if region.training is not None:
                modes = (self.graph.get_attr("training"), region.training, not region.training)
                applies["applies"] = self.graph.call_function(by_mode, modes)
            args = (self._device(region.args[0]), *region.args[1:])
            self._begun.append((region, self.graph.call_function(region.target, args, applies)))

    def _picked(self, operand: fx.Node, product: fx.Node, pick: Callable[[Value, Value], dict[int, Tensor]]) -> fx.Node:
        """A factor of a product without what meets nothing that is left, as in a table of angles for all heads."""
        value = self.sizes.values.get(operand)
        if not isinstance(value, Value):
            return operand
        copy: fx.Node = self._copy(operand)
        for dim, found in pick(value, self.sizes.values[product]).items():
            copy = self._selected(operand, copy, dim, found)
        return copy

    def _selected(self, node: fx.Node, copy: fx.Node, dim: int, found: Tensor) -> fx.Node:
        """Some positions along a dimension of the `copy` of a node."""
        key = tuple(found.tolist())
        if key not in self.positions:
            self.positions[key] = self._constant(found.to(node.meta["val"].device))
        self.changed = True
        return self.graph.call_function(torch.ops.aten.index_select.default, (copy, dim, self.positions[key]))

    def _by_mode(self, node: fx.Node, written: Operation) -> Operation:
        """The operation with the arguments that the mode decides taken from the module's own."""
        switches = self.program.alignment.switches.get(node)
        if not switches:
            return written
        names = list(arguments_of(node))
        args, kwargs = list(written.args), dict(written.kwargs)
        for name, (trained, evaluated) in switches.items():
            number = self.graph.call_function(by_mode, (self.graph.get_attr("training"), trained, evaluated))
            if name in kwargs or names.index(name) >= len(args):
                kwargs[name] = number
            else:
                args[names.index(name)] = number
        return Operation(written.target, args, kwargs)

    def _copy(self, node: fx.Node) -> Any:
        """What stands for a node of the program, or for one of the new graph itself."""
        if node.graph is self.graph:
            return node
        if self.copies.get(node) is not None:
            return self.copies[node]
        if node in self.program.own.attributes:
            self.copies[node] = self.graph.get_attr(self.program.own.attributes[node])
        elif node in self.program.own.numbers:
            self.copies[node] = self._constant(self.program.own.numbers[node])
        else:
            raise CodeError(self.name, f"it reads {node.name}, which is not known to it")
        return self.copies[node]

    def _constant(self, data: Tensor) -> fx.Node:
        """Numbers that the code reads, kept with the module."""
        name = f"traced_{len(self.constants)}"
        self.constants[name] = data
        return self.graph.get_attr(name)


def _inferred(shape: Any) -> Any:
    """A shape whose only length that is not a number is left to be inferred."""
    if isinstance(shape, torch.dtype):
        return shape
    known = list(shape)
    unknown = [index for index, size in enumerate(known) if isinstance(size, fx.Node)]
    if len(unknown) == 1 and -1 not in known:
        known[unknown[0]] = -1
    return known
