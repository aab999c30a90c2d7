"""The part of a model's graph that runs within one module: its nodes, what enters and leaves them, its children."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property

from torch import fx

from secateur.pipeline.structure.codegen.calls import CodeError, RecordedCall, is_plain
from secateur.pipeline.structure.graph.program import stack_of
from secateur.pipeline.structure.graph.trace import Trace
from secateur.pipeline.structure.graph.value import Value


class Subgraph:
    """The nodes of module `name`, in order; `calls` says how the modules of the dense model were called.

    Raises `CodeError` for a module that does not run once in a forward pass.
    """

    def __init__(self, trace: Trace, name: str, calls: Mapping[str, list[RecordedCall]]) -> None:
        self.trace, self.name, self._calls = trace, name, calls
        self.nodes = [node for node in trace.values if node.op == "call_function" and self._depth(node) is not None]
        keys = {stack_of(node)[self._depth(node) or 0][0] for node in self.nodes}
        if len(keys) != 1 or len(calls[name]) != 1:
            raise CodeError(name, f"it runs {len(calls[name])} times in one forward pass")

    @property
    def call(self) -> RecordedCall:
        """How the module itself was called."""
        return self._calls[self.name][0]

    @cached_property
    def own(self) -> dict[str, str]:
        """For the first name of every parameter and buffer of the module its name within the module."""
        prefix = f"{self.name}."
        names = self.trace.aliases.items()
        return {first: name.removeprefix(prefix) for name, first in names if name.startswith(prefix)}

    def entering(self, nodes: Iterable[fx.Node]) -> list[fx.Node]:
        """The tensors that some nodes read from elsewhere, parameters and constants of any batch aside."""
        return [source for source in self._sources(nodes) if self._is_input(source)]

    def foreign(self) -> list[fx.Node]:
        """The parameters of other modules that the module reads."""
        names = self.trace.names
        return [source for source in self._sources(self.nodes) if source in names and names[source] not in self.own]

    def leaving(self, nodes: Iterable[fx.Node]) -> list[fx.Node]:
        """The tensors among some nodes that others read; lengths are read off tensors again."""
        inside = dict.fromkeys(nodes)
        values = self.trace.values
        return [
            node
            for node in inside
            if isinstance(values[node], Value) and any(user not in inside for user in node.users)
        ]

    def within(self, key: str) -> list[fx.Node]:
        """The nodes that run within one call of a child."""
        return [node for node in self.nodes if any(found == key for found, _ in stack_of(node))]

    def child(self, node: fx.Node) -> tuple[str, str] | None:
        """The call of the outermost child within which a node runs and that can be called as it is: key and path."""
        for key, path in stack_of(node)[(self._depth(node) or 0) + 1 :]:
            seen = self._calls.get(path, [])
            inside = self.within(key)
            if seen and all(map(is_plain, seen)) and len(self.entering(inside)) == len(self.leaving(inside)) == 1:
                return key, path
        return None

    def _depth(self, node: fx.Node) -> int | None:
        """Where the module is in the stack of a node; None for nodes of other modules."""
        return next((depth for depth, (_, path) in enumerate(stack_of(node)) if path == self.name), None)

    def _sources(self, nodes: Iterable[fx.Node]) -> list[fx.Node]:
        """What some nodes read from elsewhere."""
        inside = dict.fromkeys(nodes)
        return list(dict.fromkeys(source for node in inside for source in node.all_input_nodes if source not in inside))

    def _is_input(self, node: fx.Node) -> bool:
        value = self.trace.values[node]
        if not isinstance(value, Value) or node in self.trace.names:
            return False
        return value.data is None or any(not isinstance(size, int) for size in node.meta["val"].shape)
