"""The body of a module in a traced graph: its own operations, and its children where they can be called as they are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, fx

from secateur.pipeline.structure.codegen.calls import RecordedCall, is_plain
from secateur.pipeline.structure.graph.program import operation_of, stack_of


@dataclass(frozen=True)
class ChildCall:
    """A call of the child at `path` (within the module): `nodes` make the tensor `result` of the tensor `source`.

    Beside it the child is passed what it was in the recorded `call`.
    """

    path: str
    call: RecordedCall
    source: fx.Node
    result: fx.Node
    nodes: tuple[fx.Node, ...]


Step = fx.Node | ChildCall


class Body:
    """The steps of a module, in order: operations on tensors, and calls of children with one tensor in and one out.

    `nodes` are those that run within it, from `depth` modules down in their stacks; `parameters` are the nodes that
    stand for parameters and buffers, `known` those of other tensors that no input decides. `calls` says how children
    were called, by their paths within the module.
    """

    def __init__(
        self,
        nodes: Sequence[fx.Node],
        depth: int,
        parameters: Collection[fx.Node],
        known: Collection[fx.Node],
        calls: Mapping[str, Sequence[RecordedCall]],
    ) -> None:
        self.nodes, self._depth, self._calls = nodes, depth, calls
        self._parameters, self._constants = {*parameters}, _constants(nodes, known)
        self._within: dict[str, list[fx.Node]] = {}
        for node in nodes:
            for key, _ in stack_of(node)[depth:]:
                self._within.setdefault(key, []).append(node)
        self.steps: list[Step] = []
        done: set[fx.Node] = set()
        for node in nodes:
            if node in done:
                continue
            child = self._child(node)
            if child is not None:
                done.update(child.nodes)
                self.steps.append(child)
            elif has_tensors(node) and not operation_of(node).startswith("_assert"):
                self.steps.append(node)

    def entering(self, nodes: Iterable[fx.Node]) -> list[fx.Node]:
        """The tensors that some nodes read from elsewhere, parameters aside; constants of any batch if nothing else."""
        inside = dict.fromkeys(nodes)
        read = dict.fromkeys(source for node in inside for source in node.all_input_nodes if source not in inside)
        sources = [source for source in read if has_tensors(source) and source not in self._parameters]
        return [source for source in sources if source not in self._constants] or sources

    def leaving(self, nodes: Iterable[fx.Node]) -> list[fx.Node]:
        """The tensors among some nodes that others read."""
        inside = dict.fromkeys(nodes)
        return [node for node in inside if has_tensors(node) and any(user not in inside for user in node.users)]

    def _child(self, node: fx.Node) -> ChildCall | None:
        """The call of the outermost child within which a node runs and that can be called as it is."""
        stack = stack_of(node)
        root = stack[self._depth - 1][1] if len(stack) >= self._depth else ""
        for key, path in stack[self._depth :]:
            name = path.removeprefix(f"{root}.") if root else path
            seen = self._calls.get(name, [])
            inside = self._within[key]
            entering, leaving = self.entering(inside), self.leaving(inside)
            if seen and all(map(is_plain, seen)) and len(entering) == len(leaving) == 1:
                return ChildCall(name, seen[0], entering[0], leaving[0], tuple(inside))
        return None


def has_tensors(node: fx.Node) -> bool:
    """Whether a node's result is a tensor, or several."""
    found = node.meta.get("val")
    return isinstance(found, Tensor) or (
        isinstance(found, (tuple, list)) and any(isinstance(part, Tensor) for part in found)
    )


def _constants(nodes: Iterable[fx.Node], known: Iterable[fx.Node]) -> set[fx.Node]:
    """The nodes that are known, or computed of such alone: their shapes follow from no input either."""
    found = set(known)
    for node in nodes:
        if node.op == "call_function" and all(source in found for source in node.all_input_nodes):
            found.add(node)
    return found
