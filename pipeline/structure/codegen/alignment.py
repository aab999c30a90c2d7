"""Two bodies of one module, step by step: that of the whole model in evaluation, and that of the module on its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeGuard

import torch
from torch import fx
from torch.utils._pytree import tree_flatten

from secateur.pipeline.structure.codegen.body import Body, ChildCall, Step, has_tensors
from secateur.pipeline.structure.graph.program import lengths, operation_of


@dataclass(frozen=True, eq=False)
class Alignment:
    """For each node of the module's own graph the one of the whole model's, and what differs between the modes.

    `switches` has the arguments, by name, that the module's graph gives in training and others in evaluation;
    `idle` are the calls of children that do nothing in evaluation (stochastic depth).
    """

    partners: dict[fx.Node, fx.Node] = field(default_factory=dict)
    switches: dict[fx.Node, dict[str, tuple[Any, Any]]] = field(default_factory=dict)
    idle: list[ChildCall] = field(default_factory=list)

    def pair(self, own: fx.Node, whole: fx.Node) -> bool:
        """Makes partners of two nodes; False when one of the own has another already."""
        return self.partners.setdefault(own, whole) is whole


def align(own: Body, whole: Body) -> Alignment | None:
    """How the steps of a module's own graph are those that the whole model takes in it; None where they are others.

    The own graph may be that of training: arguments may differ, and calls of children be there that evaluation skips.
    A slice in the own graph, which is for any size, may be nothing or an alias at the size of the example.
    """
    found = Alignment()
    paths = {step.path for step in whole.steps if isinstance(step, ChildCall)}
    rest = list(reversed(whole.steps))
    first_seen: list[fx.Node] = []
    for step in own.steps:
        if isinstance(step, ChildCall) and step.path not in paths:
            found.idle.append(step)
            idle_source = found.partners.get(step.source)
            if idle_source is not None:
                found.pair(step.result, idle_source)
            continue
        if _keeps_all(step) and not (rest and not isinstance(rest[-1], ChildCall) and _may_keep_all(step, rest[-1])):
            source = found.partners.get(step.all_input_nodes[0])
            if source is None:
                first_seen.append(step)
            elif not found.pair(step, source):
                return None
        elif not rest or not _same(found, step, rest.pop()):
            return None
    if rest:
        return None
    for whole_slice in reversed(first_seen):
        source = found.partners.get(whole_slice)
        if source is None or not found.pair(whole_slice.all_input_nodes[0], source):
            return None
    for step in reversed(found.idle):
        if step.result in found.partners:
            found.partners.setdefault(step.source, found.partners[step.result])
    return found


def _keeps_all(step: Step) -> TypeGuard[fx.Node]:
    """Whether a step takes a slice that is, at the size of the example, the whole tensor."""
    if isinstance(step, ChildCall) or operation_of(step) != "slice":
        return False
    return lengths(step.meta["val"]) == lengths(step.all_input_nodes[0].meta["val"])


def _may_keep_all(step: fx.Node, other: fx.Node) -> bool:
    """Whether another operation can be the same slice: one along the same dimension, or an alias."""
    if operation_of(other) == "slice":
        return bool(arguments_of(step)["dim"] == arguments_of(other)["dim"])
    return operation_of(other) == "alias"


def _same(found: Alignment, own: Step, whole: Step) -> bool:
    if isinstance(own, ChildCall) or isinstance(whole, ChildCall):
        return (
            isinstance(own, ChildCall)
            and isinstance(whole, ChildCall)
            and own.path == whole.path
            and found.pair(own.source, whole.source)
            and found.pair(own.result, whole.result)
        )
    if operation_of(whole) == "alias" and _keeps_all(own):
        return found.pair(own.all_input_nodes[0], whole.all_input_nodes[0]) and found.pair(own, whole)
    if operation_of(own) != operation_of(whole):
        return False
    ours, theirs = arguments_of(own), arguments_of(whole)
    return (
        ours.keys() == theirs.keys()
        and all(_same_argument(found, own, name, ours[name], theirs[name]) for name in ours)
        and found.pair(own, whole)
    )


def _same_argument(found: Alignment, own: fx.Node, name: str, ours: Any, theirs: Any) -> bool:
    """Whether an argument is the same, a length that is only known here, or one that the mode decides."""
    (one, one_spec), (two, two_spec) = tree_flatten(ours), tree_flatten(theirs)
    if one_spec != two_spec:
        return False
    for mine, other in zip(one, two, strict=True):
        if isinstance(mine, fx.Node):
            tensors = has_tensors(mine)
            if tensors != (isinstance(other, fx.Node) and has_tensors(other)):
                return False
            if isinstance(other, fx.Node) and tensors and not found.pair(mine, other):
                return False
        elif mine is None and isinstance(other, fx.Node):
            continue  # a mask of ones, say, that some code makes for tracing only
        elif mine != other and not (isinstance(mine, float) and mine != mine and other != other):
            if len(one) > 1 or not isinstance(mine, (bool, int, float)) or not isinstance(other, (bool, int, float)):
                return False
            found.switches.setdefault(own, {})[name] = (mine, other)
    return True


def arguments_of(node: fx.Node) -> dict[str, Any]:
    """The arguments of an operation by their names, with its defaults; by their places where it has no schema."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return {str(place): argument for place, argument in enumerate(node.args)} | dict(node.kwargs)
    schema = node.target._schema.arguments
    given = dict(zip((argument.name for argument in schema), node.args, strict=False)) | dict(node.kwargs)
    return {argument.name: given.get(argument.name, argument.default_value) for argument in schema}
