"""Groups from the labels of a traced model: units are what goes together, groups are units of one signature."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from secateur.pipeline.structure.graph.tracer import SAMPLES, Tracer
from secateur.pipeline.structure.groups import Axis, Fixed, Group, Kind, Role, Site, Slice, Term

Place = tuple[str, int]
Units = dict[int, tuple[tuple[str, int], ...]]
UNSEEN = "no layer is called whose input or output shows the units' values"


@dataclass(frozen=True)
class Components:
    """The sets of labels that go together: the connected components of the coupling.

    `of_label` has the component of every label, `at[place]` that of every position of a parameter's dimension, `heads`
    those of queries, keys and values, `[heads, dims]` each. `reasons` says why a component stays.
    """

    of_label: NDArray[np.int64]
    heads: list[NDArray[np.int64]]
    at: dict[Place, NDArray[np.int64]]
    reasons: dict[int, str]
    marks: dict[str, set[int]]


def components_of(tracer: Tracer) -> Components:
    """Solves what the tracer has collected."""
    of_label = tracer.coupling.components()
    at = {
        (name, dim): of_label[labels.numpy()]
        for name, dims in tracer.tensors.items()
        for dim, labels in enumerate(dims)
        if labels is not None
    }
    marks = {mark: tracer.coupling.marked(mark, of_label) for mark in ("width", "norm", "query_key", "value")}
    heads = [of_label[labels.numpy()] for labels in tracer.heads]
    return Components(of_label, heads, at, tracer.coupling.reasons(of_label), marks)


@dataclass(frozen=True)
class BuiltGroups:
    """Groups, what is fixed, and for each component the units that it belongs to, with their groups."""

    groups: tuple[Group, ...]
    fixed: tuple[Fixed, ...]
    units: Units


def build_groups(model: nn.Module, tracer: Tracer, components: Components, leave: Sequence[str] = ()) -> BuiltGroups:
    """All groups but those that lie within one of the modules `leave`, which are found in another way."""
    families = _by_signature(components)
    groups: list[Group] = []
    fixed: list[Fixed] = []
    units: Units = {}
    taken: set[str] = set()
    inside = tuple(f"{name}." for name in leave)
    for places, members in families:
        if all(tensor.startswith(inside) for tensor, _ in places):
            continue
        roles = {tracer.roles.get(place, "norm") for place in places}
        if "out" not in roles or not ("in" in roles or members[0] in components.marks["query_key"]):
            continue  # a table or a bias that nothing reads, or what only reads the input: nothing would get smaller
        live, blocks = _by_head(components, [component for component in members if component not in components.reasons])
        kind = _kind(model, tracer, components, members[0], places)
        name = _name(tracer, places, kind, taken)
        if len(live) < len(members):
            why = components.reasons[next(component for component in members if component not in live)]
            fixed.append(Fixed(name, kind, len(members) - len(live), why))
        if len(live) < 2:
            continue
        sites = _sites(model, tracer, places, components, live)
        if not sites:
            fixed.append(Fixed(name, kind, len(live), UNSEEN))
            continue
        taken.add(name)
        slices = tuple(
            Slice(tensor, dim, tracer.roles.get((tensor, dim), "norm"), _numbered(components.at[tensor, dim], live))
            for tensor, dim in places
        )
        groups.append(Group(name, kind, len(live), slices, sites, blocks, "", _family(tracer, kind, places), 1))
        units.update({component: ((name, unit),) for unit, component in enumerate(live)})
    return BuiltGroups(tuple(groups), tuple(fixed), units)


def terms_of(tracer: Tracer, components: Components, units: Units) -> tuple[Term, ...]:
    """What the operations cost, as products of lengths that shrink with the groups."""
    terms = []
    for cost in tracer.costs:
        axes = [_axis(components.of_label[labels.reshape(-1).numpy()], units) for labels in cost.maps]
        fixed = math.prod(axis.size for axis in axes if not axis.members)
        terms.append(Term(cost.module, cost.factor * fixed / SAMPLES, tuple(axis for axis in axes if axis.members)))
    return tuple(terms)


def norms_of(tracer: Tracer, components: Components, found: BuiltGroups) -> dict[str, Axis]:
    """For each module that normalises over units, the axis of its width."""
    norms = {}
    for module, maps in tracer.norms.items():
        axis = _axis(components.of_label[maps[0].reshape(-1).numpy()], found.units)
        if axis.members:
            norms[module] = axis
    return norms


def _axis(found: NDArray[np.int64], units: Units) -> Axis:
    """The axis of a length whose positions belong to components."""
    members: dict[str, list[int]] = {}
    for position, component in enumerate(found.tolist()):
        for name, unit in units.get(component, ()):
            members.setdefault(name, [-1] * len(found))[position] = unit
    return Axis(len(found), tuple((name, tuple(numbers)) for name, numbers in members.items()))


def _by_signature(components: Components) -> list[tuple[list[Place], list[int]]]:
    """Components that lie in the same places, as often in each, with those places; both in the model's order."""
    places = list(components.at)
    found = np.concatenate([components.at[place] for place in places])
    where = np.repeat(np.arange(len(places)), [len(components.at[place]) for place in places])
    pairs, counts = np.unique(np.stack([found, where], axis=1), axis=0, return_counts=True)
    rows = np.column_stack([pairs[:, 1], counts])
    ids, starts = np.unique(pairs[:, 0], return_index=True)
    _, first = np.unique(found, return_index=True)
    signatures: dict[bytes, list[int]] = defaultdict(list)
    keys = [part.tobytes() for part in np.split(rows, starts[1:])]
    for index in np.argsort(first).tolist():
        signatures[keys[index]].append(int(ids[index]))
    return [
        ([places[place] for place in np.frombuffer(key, dtype=np.int64).reshape(-1, 2)[:, 0]], members)
        for key, members in signatures.items()
    ]


def _by_head(components: Components, live: list[int]) -> tuple[list[int], int]:
    """The components in the order of their heads, and how many heads they form; 1 where they are in none.

    Heads that share keys and values are one.
    """
    members = set(live)
    for found in components.heads:
        heads = list(dict.fromkeys(map(tuple, found.tolist())))
        order = [component for head in heads for component in head]
        if len(heads) > 1 and len(order) == len(live) and set(order) == members:
            return order, len(heads)
    return live, 1


def _numbered(found: NDArray[np.int64], live: Sequence[int]) -> tuple[int, ...]:
    number = np.full(max(int(found.max()), *live) + 1, -1)
    number[live] = np.arange(len(live))
    return tuple(number[found].tolist())


def _kind(model: nn.Module, tracer: Tracer, components: Components, component: int, places: Sequence[Place]) -> Kind:
    if component in components.marks["width"]:
        return "width"
    if component in components.marks["query_key"]:
        return "qk_dim"
    if component in components.marks["value"]:
        return "v_dim"
    linear = {"in": False, "out": False}
    for tensor, dim in places:
        role: Role = tracer.roles.get((tensor, dim), "norm")
        if role in linear and tensor.endswith(".weight"):
            owner = model.get_submodule(tensor.rpartition(".")[0])
            if not isinstance(owner, nn.Linear):
                return "channel"
            linear[role] = True
    return "mlp_hidden" if all(linear.values()) else "channel"


_SUFFIX = {
    "width": "width",
    "channel": "channels",
    "qk_dim": "qk",
    "v_dim": "v",
    "mlp_hidden": "hidden",
    "head": "heads",
}


def _name(tracer: Tracer, places: Sequence[Place], kind: Kind, taken: set[str]) -> str:
    """The first layer that makes the units, or for an MLP the module around it, and the kind."""
    order = {name: index for index, name in enumerate(tracer.tensors)}
    made = [tensor for tensor, dim in places if tracer.roles.get((tensor, dim)) == "out"]
    makers = sorted(made, key=order.__getitem__)
    layer = makers[0].rpartition(".")[0]
    name = f"{layer.rpartition('.')[0] if kind == 'mlp_hidden' else layer}.{_SUFFIX[kind]}".lstrip(".")
    if name in taken:
        name = f"{layer}.{_SUFFIX[kind]}"
    number, first = 2, name
    while name in taken:
        name = f"{first}.{number}"
        number += 1
    return name


def _family(tracer: Tracer, kind: Kind, places: Sequence[Place]) -> str:
    """Equal for groups of one kind whose tensors have equal shapes."""
    shapes = sorted(
        "x".join(str(1 if labels is None else len(labels)) for labels in tracer.tensors[tensor]) + f"@{dim}"
        for tensor, dim in places
    )
    return f"{kind}:{','.join(shapes)}"


def _sites(
    model: nn.Module, tracer: Tracer, places: Sequence[Place], components: Components, live: Sequence[int]
) -> tuple[Site, ...]:
    """The inputs of the layers that read the units; where none is a module, the outputs of those that make them."""
    found: dict[str, list[Site]] = {"in": [], "out": []}
    for tensor, dim in places:
        role = tracer.roles.get((tensor, dim), "norm")
        module = tensor.rpartition(".")[0]
        layer = model.get_submodule(module)
        if role not in found or tensor not in tracer.owners or model.get_submodule(tracer.owners[tensor]) is not layer:
            continue
        if not isinstance(layer, (nn.Linear, nn.modules.conv._ConvNd)):
            continue
        numbers = _numbered(components.at[tensor, dim], live)
        if isinstance(layer, nn.Linear):
            axis = -1
        else:
            axis = 1
            if role == "in" and layer.groups > 1 and len(numbers) * layer.groups == layer.in_channels:
                numbers = numbers * layer.groups
        found[role].append(Site(module, "input" if role == "in" else "output", axis, numbers))
    return tuple(found["in"] or found["out"])
