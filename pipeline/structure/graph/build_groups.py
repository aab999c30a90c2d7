"""Groups from the atoms of a traced model: units are what goes together, groups are units of one signature."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from secateur.pipeline.structure.graph.tracer import SAMPLES, Walk
from secateur.pipeline.structure.groups import Axis, Fixed, Group, Kind, Role, Site, Slice, Term

Place = tuple[str, int]
Units = dict[int, tuple[tuple[str, int], ...]]
UNSEEN = "no layer is called whose input or output shows the units' values"


@dataclass(frozen=True)
class Parts:
    """The sets of atoms that go together.

    `at[place]` has the set of every position of a parameter's dimension, `heads` those of queries, keys and values,
    `[heads, dims]` each.
    """

    components: NDArray[np.int64]
    heads: list[NDArray[np.int64]]
    at: dict[Place, NDArray[np.int64]]
    reasons: dict[int, str]
    marks: dict[str, set[int]]


def parts_of(walk: Walk) -> Parts:
    """Solves what the walk has collected."""
    components = walk.atoms.components()
    at = {
        (name, dim): components[atoms.numpy()]
        for name, dims in walk.tensors.items()
        for dim, atoms in enumerate(dims)
        if atoms is not None
    }
    marks = {mark: walk.atoms.marked(mark, components) for mark in ("width", "norm", "query_key", "value")}
    heads = [components[atoms.numpy()] for atoms in walk.heads]
    return Parts(components, heads, at, walk.atoms.reasons(components), marks)


@dataclass(frozen=True)
class Assembled:
    """Groups, what is fixed, and for each component the units that it belongs to, with their groups."""

    groups: tuple[Group, ...]
    fixed: tuple[Fixed, ...]
    units: Units


def assemble(model: nn.Module, walk: Walk, parts: Parts, leave: Sequence[str] = ()) -> Assembled:
    """All groups but those that lie within one of the modules `leave`, which are found in another way."""
    families = _by_signature(parts)
    groups: list[Group] = []
    fixed: list[Fixed] = []
    units: Units = {}
    taken: set[str] = set()
    inside = tuple(f"{name}." for name in leave)
    for places, members in families:
        if all(tensor.startswith(inside) for tensor, _ in places):
            continue
        roles = {walk.roles.get(place, "norm") for place in places}
        if "out" not in roles or not ("in" in roles or members[0] in parts.marks["query_key"]):
            continue  # a table or a bias that nothing reads, or what only reads the input: nothing would get smaller
        live, blocks = _by_head(parts, [component for component in members if component not in parts.reasons])
        kind = _kind(model, walk, parts, members[0], places)
        name = _name(walk, places, kind, taken)
        if len(live) < len(members):
            why = parts.reasons[next(component for component in members if component not in live)]
            fixed.append(Fixed(name, kind, len(members) - len(live), why))
        if len(live) < 2:
            continue
        sites = _sites(model, walk, places, parts, live)
        if not sites:
            fixed.append(Fixed(name, kind, len(live), UNSEEN))
            continue
        taken.add(name)
        slices = tuple(
            Slice(tensor, dim, walk.roles.get((tensor, dim), "norm"), _numbered(parts.at[tensor, dim], live))
            for tensor, dim in places
        )
        groups.append(Group(name, kind, len(live), slices, sites, blocks, "", _family(walk, kind, places), 1))
        units.update({component: ((name, unit),) for unit, component in enumerate(live)})
    return Assembled(tuple(groups), tuple(fixed), units)


def terms_of(walk: Walk, parts: Parts, units: Units) -> tuple[Term, ...]:
    """What the operations cost, as products of lengths that shrink with the groups."""
    terms = []
    for cost in walk.costs:
        axes = [_axis(parts.components[layer.reshape(-1).numpy()], units) for layer in cost.layers]
        fixed = math.prod(axis.size for axis in axes if not axis.members)
        terms.append(Term(cost.module, cost.factor * fixed / SAMPLES, tuple(axis for axis in axes if axis.members)))
    return tuple(terms)


def norms_of(walk: Walk, parts: Parts, found: Assembled) -> dict[str, Axis]:
    """For each module that normalises over units, the axis of its width."""
    norms = {}
    for module, layers in walk.norms.items():
        axis = _axis(parts.components[layers[0].reshape(-1).numpy()], found.units)
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


def _by_signature(parts: Parts) -> list[tuple[list[Place], list[int]]]:
    """Components that lie in the same places, as often in each, with those places; both in the model's order."""
    places = list(parts.at)
    found = np.concatenate([parts.at[place] for place in places])
    where = np.repeat(np.arange(len(places)), [len(parts.at[place]) for place in places])
    pairs, counts = np.unique(np.stack([found, where], axis=1), axis=0, return_counts=True)
    rows = np.column_stack([pairs[:, 1], counts])
    components, starts = np.unique(pairs[:, 0], return_index=True)
    _, first = np.unique(found, return_index=True)
    signatures: dict[bytes, list[int]] = defaultdict(list)
    keys = [part.tobytes() for part in np.split(rows, starts[1:])]
    for index in np.argsort(first).tolist():
        signatures[keys[index]].append(int(components[index]))
    return [
        ([places[place] for place in np.frombuffer(key, dtype=np.int64).reshape(-1, 2)[:, 0]], members)
        for key, members in signatures.items()
    ]


def _by_head(parts: Parts, live: list[int]) -> tuple[list[int], int]:
    """The components in the order of their heads, and how many heads they form; 1 where they are in none.

    Heads that share keys and values are one.
    """
    members = set(live)
    for found in parts.heads:
        heads = list(dict.fromkeys(map(tuple, found.tolist())))
        order = [component for head in heads for component in head]
        if len(heads) > 1 and len(order) == len(live) and set(order) == members:
            return order, len(heads)
    return live, 1


def _numbered(found: NDArray[np.int64], live: Sequence[int]) -> tuple[int, ...]:
    number = np.full(max(int(found.max()), *live) + 1, -1)
    number[live] = np.arange(len(live))
    return tuple(number[found].tolist())


def _kind(model: nn.Module, walk: Walk, parts: Parts, component: int, places: Sequence[Place]) -> Kind:
    if component in parts.marks["width"]:
        return "width"
    if component in parts.marks["query_key"]:
        return "qk_dim"
    if component in parts.marks["value"]:
        return "v_dim"
    linear = {"in": False, "out": False}
    for tensor, dim in places:
        role: Role = walk.roles.get((tensor, dim), "norm")
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


def _name(walk: Walk, places: Sequence[Place], kind: Kind, taken: set[str]) -> str:
    """The first layer that makes the units, or for an MLP the module around it, and the kind."""
    order = {name: index for index, name in enumerate(walk.tensors)}
    makers = sorted((tensor for tensor, dim in places if walk.roles.get((tensor, dim)) == "out"), key=order.__getitem__)
    layer = makers[0].rpartition(".")[0]
    name = f"{layer.rpartition('.')[0] if kind == 'mlp_hidden' else layer}.{_SUFFIX[kind]}".lstrip(".")
    if name in taken:
        name = f"{layer}.{_SUFFIX[kind]}"
    number, first = 2, name
    while name in taken:
        name = f"{first}.{number}"
        number += 1
    return name


def _family(walk: Walk, kind: Kind, places: Sequence[Place]) -> str:
    """Equal for groups of one kind whose tensors have equal shapes."""
    shapes = sorted(
        "x".join(str(1 if atoms is None else len(atoms)) for atoms in walk.tensors[tensor]) + f"@{dim}"
        for tensor, dim in places
    )
    return f"{kind}:{','.join(shapes)}"


def _sites(
    model: nn.Module, walk: Walk, places: Sequence[Place], parts: Parts, live: Sequence[int]
) -> tuple[Site, ...]:
    """The inputs of the layers that read the units; where none is a module, the outputs of those that make them."""
    found: dict[str, list[Site]] = {"in": [], "out": []}
    for tensor, dim in places:
        role = walk.roles.get((tensor, dim), "norm")
        module = tensor.rpartition(".")[0]
        layer = model.get_submodule(module)
        if role not in found or tensor not in walk.owners or model.get_submodule(walk.owners[tensor]) is not layer:
            continue
        if not isinstance(layer, (nn.Linear, nn.modules.conv._ConvNd)):
            continue
        numbers = _numbered(parts.at[tensor, dim], live)
        if isinstance(layer, nn.Linear):
            axis = -1
        else:
            axis = 1
            if role == "in" and layer.groups > 1 and len(numbers) * layer.groups == layer.in_channels:
                numbers = numbers * layer.groups
        found[role].append(Site(module, "input" if role == "in" else "output", axis, numbers))
    return tuple(found["in"] or found["out"])
