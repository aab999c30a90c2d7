"""Rules: what an operation of the graph does to the labels of what it reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx

from secateur.benchmarks.mac_handlers import macs_of
from secateur.pipeline.structure.graph.program import lengths
from secateur.pipeline.structure.graph.trace import Trace
from secateur.pipeline.structure.graph.value import LabelMap, Value

Result = Value | tuple[Any, ...]
Rule = Callable[[Trace, "Call"], Result]


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
        return [leaf for leaf in leaves((*self.args, *self.kwargs.values())) if isinstance(leaf, Value)]

    def plain(self) -> tuple[list[Any], list[Any]]:
        """Its arguments in the order of its schema and its results, with the sizes of tensors in place of them."""
        schema = getattr(self.target, "_schema", None)
        given: list[Any] = list(self.args)
        for place, argument in enumerate(schema.arguments if schema else ()):
            if place >= len(given):
                given.append(self.kwargs.get(argument.name, argument.default_value))
        found = self.node.meta.get("val")
        results = [lengths(leaf) for leaf in leaves([found]) if isinstance(leaf, Tensor)]
        return [_sizes(argument) for argument in given], results

    @property
    def operation(self) -> str:
        """The name of its operation with that of the library, `aten::mm`."""
        schema = getattr(self.target, "_schema", None)
        return str(schema.name if schema else self.name)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the (first) result."""
        found = self.node.meta["val"]
        return lengths(found[0] if isinstance(found, (tuple, list)) else found)


class Rules:
    """The rules of some operations by their names; a rule of `add` is that of its in-place form `add_` as well."""

    def __init__(self) -> None:
        self._found: dict[str, Rule] = {}

    def rule(self, *names: str) -> Callable[[Rule], Rule]:
        """A decorator that makes a function the rule of some operations; raises `ValueError` on a second rule."""

        def register(function: Rule) -> Rule:
            for name in names:
                self._add(name, function)
            return function

        return register

    def include(self, other: Rules) -> None:
        """Takes in all rules of another table; raises `ValueError` where both have one for an operation."""
        for name, function in other._found.items():
            self._add(name, function)

    def find(self, name: str) -> Rule | None:
        """The rule of an operation, None where there is none."""
        return self._found.get(name) or self._found.get(name.removesuffix("_"))

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def _add(self, name: str, function: Rule) -> None:
        if name in self._found:
            raise ValueError(f"the operation {name!r} has two rules")
        self._found[name] = function


def traced_result(call: Call, maps: Sequence[LabelMap] = (), computed: bool = True) -> Result:
    """Results of the shapes that were traced, each with the same label maps."""
    found = call.node.meta["val"]
    if isinstance(found, (tuple, list)):
        return tuple(
            Value(lengths(part), tuple(maps), None, computed) if isinstance(part, Tensor) else part for part in found
        )
    return Value(lengths(found), tuple(maps), None, computed) if isinstance(found, Tensor) else found


def stays(trace: Trace, call: Call, words: str) -> Result:
    """What nothing can be followed through, an operation in `words`: all that goes into it stays as it is."""
    for value in call.values():
        for labels in value.maps:
            trace.lose(labels, call.module, words)
    trace.count(call.operation, call.module, macs_of(call.operation, *call.plain()))
    return traced_result(call)


def _sizes(argument: Any) -> Any:
    """An argument with the sizes of tensors in place of them."""
    if isinstance(argument, (tuple, list)):
        return [_sizes(part) for part in argument]
    return argument.shape if isinstance(argument, Value) else argument


def leaves(tree: Any) -> list[Any]:
    """Everything in nested tuples, lists and dictionaries; a value is a leaf."""
    if isinstance(tree, (tuple, list)):
        return [leaf for part in tree for leaf in leaves(part)]
    if isinstance(tree, dict):
        return [leaf for part in tree.values() for leaf in leaves(part)]
    return [tree]
