"""Attention heads from the labels of a traced model: a head is what its queries, keys and values form together."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from secateur.pipeline.structure.graph.build_groups import BuiltGroups
from secateur.pipeline.structure.graph.components import Components, Place
from secateur.pipeline.structure.graph.trace import Trace
from secateur.pipeline.structure.groups import Fixed, Group, Slice

ORDER = "its queries, keys and values do not come head by head"
SHARED = "its heads share parameters"
WHOLE = "its queries and keys are normalised or mixed in a way that hides which head they are of"


@dataclass(frozen=True)
class Head:
    """All components that go with one head, and how often they lie in each place."""

    members: tuple[int, ...]
    places: tuple[tuple[Place, int], ...]


def with_heads(trace: Trace, components: Components, found: BuiltGroups) -> BuiltGroups:
    """What was found, with a group of heads for each attention whose heads can go one by one.

    Groups of dimensions per head become its children (`Group.parent`). Heads that share keys and values are one unit.
    """
    groups, fixed, units = list(found.groups), list(found.fixed), dict(found.units)
    for heads in _families(trace, components):
        number = {component: unit for unit, head in enumerate(heads) for component in head.members}
        within = [
            group
            for group in groups
            if any(unit[0] == group.name for member in number for unit in found.units.get(member, ()))
        ]
        values = next((group for group in within if group.kind == "v_dim"), None)
        if values is None:
            continue
        name = f"{values.name.removesuffix('.v')}.heads"
        stuck = next((components.reasons[member] for member in number if member in components.reasons), None)
        order = [_order(group, number, found) for group in within]
        if stuck is not None or any(blocks != order[0] or len(blocks) != len(heads) for blocks in order):
            fixed.append(Fixed(name, "head", values.blocks, stuck or (ORDER if len(heads) > 1 else SHARED)))
            continue
        unit_of = {number: unit for unit, number in enumerate(order[0])}
        number = {component: unit_of[head] for component, head in number.items()}
        groups.insert(groups.index(within[0]), _group(trace, components, name, number, values, within))
        for group in within:
            groups[groups.index(group)] = replace(group, parent=name)
        for component, unit in number.items():
            units[component] = (*units.get(component, ()), (name, unit))
    told = {one.name for one in fixed}
    for group in groups:
        name = f"{group.name.removesuffix('.v')}.heads"
        if group.kind == "v_dim" and group.blocks > 1 and not group.parent and name not in told:
            fixed.append(Fixed(name, "head", group.blocks, WHOLE))
    return BuiltGroups(tuple(groups), tuple(fixed), units)


def _families(trace: Trace, components: Components) -> list[list[Head]]:
    """The heads of each attention: those whose components lie in the same places."""
    size = len(components.of_label)
    pairs = [
        components.of_label[torch.stack([coarse + 0 * fine, fine + 0 * coarse]).reshape(2, -1).numpy()]
        for coarse, fine in trace.coupling.blocks
    ]
    if not pairs:
        return []
    edges = np.unique(np.concatenate(pairs, axis=1), axis=1)
    graph = coo_matrix((np.ones(edges.shape[1]), edges), shape=(size, size))
    clusters = connected_components(graph, directed=False)[1]
    members: dict[int, list[int]] = defaultdict(list)
    for component in np.unique(edges).tolist():
        members[int(clusters[component])].append(component)
    counts: dict[int, dict[Place, int]] = defaultdict(lambda: defaultdict(int))
    headed = np.isin(np.arange(size), np.unique(edges))
    for place, found in components.at.items():
        for cluster, count in zip(*np.unique(clusters[found[headed[found]]], return_counts=True), strict=True):
            counts[int(cluster)][place] += int(count)
    families: dict[tuple[tuple[Place, int], ...], list[Head]] = defaultdict(list)
    for cluster, inside in members.items():
        head = Head(tuple(inside), tuple(counts[cluster].items()))
        families[head.places].append(head)
    return list(families.values())


def _order(group: Group, number: dict[int, int], found: BuiltGroups) -> list[int]:
    """For each block of a group the head that it is a part of; empty where a block is of several or of none."""
    heads = [set[int]() for _ in range(group.blocks)]
    width = group.units // group.blocks
    for component, memberships in found.units.items():
        for name, unit in memberships:
            if name == group.name:
                heads[unit // width].add(number.get(component, -1))
    order = [head for block in heads for head in block]
    return order if len(set(order)) == len(order) == group.blocks and -1 not in order else []


def _group(
    trace: Trace, components: Components, name: str, number: dict[int, int], values: Group, within: list[Group]
) -> Group:
    """The group of heads: each position of each tensor that belongs to a head, seen where the values are read."""
    units = np.full(len(components.of_label), -1)
    units[list(number)] = list(number.values())
    slices = tuple(
        Slice(tensor, dim, trace.roles.get((tensor, dim), "table"), tuple(units[found].tolist()))
        for (tensor, dim), found in components.at.items()
        if (units[found] >= 0).any()
    )
    width = values.units // values.blocks
    sites = tuple(
        replace(site, units=tuple(unit // width if unit >= 0 else -1 for unit in site.units)) for site in values.sites
    )
    family = "head:" + ",".join(sorted(group.family for group in within))
    return Group(name, "head", values.blocks, slices, sites, family=family, min_units=1)
