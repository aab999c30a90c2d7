"""What a group is called: its kind, its name, and the family of groups like it."""

from __future__ import annotations

from collections.abc import Container, Sequence

from torch import nn

from secateur.pipeline.structure.graph.components import Components, Place
from secateur.pipeline.structure.graph.trace import Trace
from secateur.pipeline.structure.groups import MAKES, READS, Kind, Role

_SUFFIX = {
    "width": "width",
    "channel": "channels",
    "qk_dim": "qk",
    "v_dim": "v",
    "mlp_hidden": "hidden",
    "head": "heads",
}


def kind_of(model: nn.Module, trace: Trace, components: Components, component: int, places: Sequence[Place]) -> Kind:
    """What the units of a group are, by where one of its components was seen and which layers read and make it.

    What a layer reads reaches the output otherwise than by the attention's scores: it is a value, whatever else it is.
    """
    query_key, value = (component in components.marks[mark] for mark in ("query_key", "value"))
    if component in components.marks["width"] and not (query_key and value):  # queries may be added to what comes out
        return "width"
    read = any(trace.roles.get(place) in READS for place in places)
    if value and (read or not (query_key or component in components.pieces)):
        return "v_dim"
    if query_key or value:
        return "qk_dim"
    linear = {"in": False, "out": False}
    for tensor, dim in places:
        role: Role = trace.roles.get((tensor, dim), "norm")
        if role in (*MAKES, *READS) and (tensor.endswith(".weight") or tensor in trace.products):
            owner = model.get_submodule(tensor.rpartition(".")[0])
            if not isinstance(owner, nn.Linear) and tensor not in trace.products:
                return "channel"
            linear.update({"in": role in READS or linear["in"], "out": role in MAKES or linear["out"]})
    return "mlp_hidden" if all(linear.values()) else "channel"


def name_of(trace: Trace, places: Sequence[Place], kind: Kind, taken: set[str]) -> str:
    """The first layer that makes the units, or for an MLP the module around it, and the kind.

    Where no layer makes them it is the first module that has any of their tensors.
    """
    order = {name: index for index, name in enumerate(trace.tensors)}
    made = [tensor for tensor, dim in places if trace.roles.get((tensor, dim)) in MAKES]
    first_of = min(made or [tensor for tensor, _ in places], key=order.__getitem__)
    layer = first_of.rpartition(".")[0]
    name = f"{layer.rpartition('.')[0] if kind == 'mlp_hidden' else layer}.{_SUFFIX[kind]}".lstrip(".")
    if name in taken:
        name = f"{layer}.{_SUFFIX[kind]}".lstrip(".")
    return numbered_name(name, taken)


def numbered_name(name: str, taken: Container[str]) -> str:
    """The name, with the first number from 2 that makes it another one where it is taken."""
    number, first = 2, name
    while name in taken:
        name = f"{first}.{number}"
        number += 1
    return name


def family_of(trace: Trace, kind: Kind, places: Sequence[Place]) -> str:
    """Equal for groups of one kind whose tensors have equal shapes."""
    shapes = sorted(
        "x".join(str(1 if labels is None else len(labels)) for labels in trace.tensors[tensor]) + f"@{dim}"
        for tensor, dim in places
    )
    return f"{kind}:{','.join(shapes)}"
