"""Why dimensions of tensors, or some of their positions, belong to no group."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from secateur.pipeline.structure.graph.build_groups import Units
from secateur.pipeline.structure.graph.components import Components, Place
from secateur.pipeline.structure.graph.trace import Trace
from secateur.pipeline.structure.graph.unread import UNREAD
from secateur.pipeline.structure.groups import MAKES, READS, Role

NOT_UNITS = "no layer makes units along it (taps of a kernel, positions, entries of a table)"
UNMADE = "no layer makes what it reads"
SINGLE = "a single unit has to stay"


def ungrouped(trace: Trace, components: Components, units: Units) -> dict[Place, str]:
    """For each place with a position that is no unit of any group, the first reason for that.

    A place whose units a layer makes and another one reads, two or more of them, has no reason: it is left out.
    """
    parts, components = components, components.of_units
    grouped = {
        unit for unit in np.unique(components.of_label).tolist() if all(part in units for part in parts.within(unit))
    }
    roles: dict[int, set[Role]] = defaultdict(set)
    alike: dict[int, set[Place]] = defaultdict(set)
    inside = {place: np.unique(found).tolist() for place, found in components.at.items()}
    for place, found in inside.items():
        for component in found:
            alike[component].add(place)
            if place in trace.roles:
                roles[component].add(trace.roles[place])
    count: dict[frozenset[Place], int] = defaultdict(int)
    for places in alike.values():
        count[frozenset(places)] += 1
    reasons: dict[Place, str] = {}
    for place, found in inside.items():
        for component in found:
            if component in grouped:
                continue
            reason = trace.unread.get(place[0]) or components.reasons.get(component)
            makes, reads = (bool(roles[component].intersection(some)) for some in (MAKES, READS))
            if reason is None and not (makes and (reads or component in components.marks["query_key"])):
                reason = UNREAD if makes else UNMADE if reads else NOT_UNITS
            reason = reason or components.pieces.get(component)
            if reason is None and count[frozenset(alike[component])] == 1:
                reason = SINGLE
            if reason is not None:
                reasons.setdefault(place, reason)
    return reasons
