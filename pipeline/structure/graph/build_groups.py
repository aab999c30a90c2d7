"""Groups from the components of a traced model: those that lie in the same places are the units of one group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from secateur.pipeline.structure.graph.components import Components, Place, by_head, by_signature, numbered
from secateur.pipeline.structure.graph.coupling import FIXED
from secateur.pipeline.structure.graph.naming import family_of, kind_of, name_of
from secateur.pipeline.structure.graph.sites import sites_of
from secateur.pipeline.structure.graph.trace import Trace
from secateur.pipeline.structure.graph.unread import fixed_alone
from secateur.pipeline.structure.groups import MAKES, READS, Fixed, Group, Slice

Units = dict[int, tuple[tuple[str, int], ...]]
"""For each component that belongs to groups, their names and the number of its unit in each."""
UNSEEN = "what makes and what reads them is no linear layer or convolution, so that no score sees the units' values"


@dataclass(frozen=True)
class BuiltGroups:
    """Groups, what is fixed, and for each component the units that it belongs to, with their groups."""

    groups: tuple[Group, ...]
    fixed: tuple[Fixed, ...]
    units: Units


def build_groups(model: nn.Module, trace: Trace, components: Components, leave: Sequence[str] = ()) -> BuiltGroups:
    """All groups but those that lie within one of the modules `leave`, which are found in another way."""
    groups: list[Group] = []
    fixed: list[Fixed] = []
    alone: list[tuple[list[Place], list[int]]] = []
    units: Units = {}
    taken: set[str] = set()
    parts, components = components, components.of_units
    heads = {int(components.of_label[label]) for coarse, _ in trace.coupling.blocks for label in coarse.reshape(-1)}
    inside = tuple(f"{name}." for name in leave)
    for places, members in by_signature(components):
        if all(tensor.startswith(inside) for tensor, _ in places):
            continue
        roles = {trace.roles.get(place, "norm") for place in places}
        read = (
            bool(roles.intersection(READS))
            or members[0] in components.marks["query_key"]
            or members[0] in components.pieces
        )
        if not roles.intersection(MAKES) or not read or members == [components.of_label[FIXED]]:
            if not heads.issuperset(members):  # what each head has one of is told with the heads
                alone.append((places, members))  # nothing would get smaller
            continue
        kind = kind_of(model, trace, components, members[0], places)
        name = name_of(trace, places, kind, taken)
        free = [component for component in members if component not in components.reasons]
        live, blocks = by_head(components, free)
        if len(live) < len(members):
            why = components.reasons[next(component for component in members if component not in live)]
            fixed.append(Fixed(name, kind, len(members) - len(live), why))
        if live and kind in ("qk_dim", "v_dim") and live[0] in components.pieces:
            number = int(np.isin(components.at[places[0]], live).sum())
            fixed.append(Fixed(name, kind, number, components.pieces[live[0]]))
            continue
        if len(live) < 2:
            continue
        sites = sites_of(model, trace, places, components, live)
        if not sites:
            fixed.append(Fixed(name, kind, len(live), UNSEEN))
            continue
        taken.add(name)
        slices = tuple(
            Slice(tensor, dim, trace.roles.get((tensor, dim), "norm"), numbered(components.at[tensor, dim], live))
            for tensor, dim in places
        )
        groups.append(Group(name, kind, len(live), slices, sites, blocks, "", family_of(trace, kind, places), 1))
        units.update({part: ((name, unit),) for unit, one in enumerate(live) for part in parts.within(one)})
    fixed += fixed_alone(model, trace, components, alone)
    return BuiltGroups(tuple(groups), tuple(fixed), units)
