"""Attention heads from the labels of a traced model: a head is what its queries, keys and values form together."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import nn

from secateur.pipeline.structure.graph.build_groups import BuiltGroups
from secateur.pipeline.structure.graph.components import Components, Place, numbered
from secateur.pipeline.structure.graph.naming import numbered_name
from secateur.pipeline.structure.graph.sites import sites_of
from secateur.pipeline.structure.graph.trace import Trace
from secateur.pipeline.structure.groups import Fixed, Group, Slice

ORDER = "its queries, keys and values do not come head by head"
SHARED = "its heads share parameters"
TOGETHER = "all dimensions of a head are one group of a convolution or of a normalisation, which takes them together"
WHOLE = "its queries and keys are normalised or mixed in a way that hides which head they are of"


@dataclass(frozen=True)
class Head:
    """All components that go with one head, and how often they lie in each place."""

    members: tuple[int, ...]
    places: tuple[tuple[Place, int], ...]


def with_heads(model: nn.Module, trace: Trace, components: Components, found: BuiltGroups) -> BuiltGroups:
    """What was found, with a group of heads for each attention whose heads can go one by one.

    Groups of dimensions per head become its children (`Group.parent`); dimensions that all heads share stay groups of
    their own. Heads that share keys and values are one unit.
    """
    groups, fixed, units = list(found.groups), list(found.fixed), dict(found.units)
    taken = {group.name for group in groups}
    for heads in _families(trace, components):
        number = {component: unit for unit, head in enumerate(heads) for component in head.members}
        names = {name for member in number for name, _ in found.units.get(member, ())}
        within = [group for group in groups if group.name in names]
        named = next((group for kind in ("v_dim", "qk_dim") for group in within if group.kind == kind), None)
        if named is None:
            continue
        name = numbered_name(f"{named.name.removesuffix('.v').removesuffix('.qk')}.heads", taken)
        taken.add(name)
        stuck = next((components.reasons[member] for member in number if member in components.reasons), None)
        children = [group for group in within if not _across(group, number, found)]
        order = [_order(group, number, found) for group in children] or [list(range(len(heads)))]
        if stuck is not None or any(blocks != order[0] or len(blocks) != len(heads) for blocks in order):
            fixed.append(Fixed(name, "head", named.blocks, stuck or (ORDER if len(heads) > 1 else SHARED)))
            continue
        unit_of = {number: unit for unit, number in enumerate(order[0])}
        number = {component: unit_of[head] for component, head in number.items()}
        groups.insert(groups.index(within[0]), _group(model, trace, components, name, number, within))
        for group in children:
            groups[groups.index(group)] = replace(group, parent=name)
        for component, unit in number.items():
            units[component] = (*units.get(component, ()), (name, unit))
    told = {one.name for one in fixed}
    for group in groups:
        name = f"{group.name.removesuffix('.v')}.heads"
        if group.kind == "v_dim" and group.blocks > 1 and not group.parent and name not in told:
            fixed.append(Fixed(name, "head", group.blocks, WHOLE))
    return _without_whole(BuiltGroups(tuple(groups), tuple(fixed), units))


def _without_whole(found: BuiltGroups) -> BuiltGroups:
    """What was found without groups of which each unit is all dimensions of a head: at least one of each head stays."""
    whole = {group.name: group for group in found.groups if group.units == group.blocks > 1}
    fixed = [
        Fixed(name, group.kind, sum(unit >= 0 for unit in group.slices[0].units), TOGETHER)
        for name, group in whole.items()
    ]
    left = {one: tuple(unit for unit in units if unit[0] not in whole) for one, units in found.units.items()}
    groups = tuple(group for group in found.groups if group.name not in whole)
    return BuiltGroups(groups, (*found.fixed, *fixed), {one: units for one, units in left.items() if units})


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


def _across(group: Group, number: dict[int, int], found: BuiltGroups) -> bool:
    """Whether each unit of a group is a dimension of all heads."""
    heads: dict[int, set[int]] = defaultdict(set)
    for component, memberships in found.units.items():
        for name, unit in memberships:
            if name == group.name and component in number:
                heads[unit].add(number[component])
    every = set(number.values())
    return len(every) > 1 and len(heads) == group.units and all(one == every for one in heads.values())


def _group(
    model: nn.Module, trace: Trace, components: Components, name: str, number: dict[int, int], within: list[Group]
) -> Group:
    """The group of heads: each position of each tensor that belongs to a head, seen where the values are read."""
    heads = max(number.values()) + 1
    units = np.full(len(components.of_label), heads)
    units[list(number)] = list(number.values())
    at = {place: units[found] for place, found in components.at.items() if (units[found] < heads).any()}
    slices = tuple(
        Slice(tensor, dim, trace.roles.get((tensor, dim), "table"), numbered(found, range(heads)))
        for (tensor, dim), found in at.items()
    )
    found = replace(components, at=at, of_label=units[components.of_label])
    sites = sites_of(model, trace, list(at), found, range(heads))
    family = "head:" + ",".join(sorted(group.family for group in within))
    return Group(name, "head", heads, slices, sites, family=family, min_units=1)
