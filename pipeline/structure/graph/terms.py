"""What operations cost and which widths modules know, in units of groups."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from secateur.pipeline.structure.graph.build_groups import BuiltGroups, Units
from secateur.pipeline.structure.graph.components import Components
from secateur.pipeline.structure.graph.program import SAMPLES
from secateur.pipeline.structure.graph.trace import Trace
from secateur.pipeline.structure.groups import Axis, Norm, Term


def terms_of(trace: Trace, components: Components, units: Units) -> tuple[Term, ...]:
    """What the operations cost, as products of lengths that shrink with the groups."""
    terms = []
    for cost in trace.costs:
        axes = [_axis(components.of_label[labels.reshape(-1).numpy()], units) for labels in cost.maps]
        fixed = math.prod(axis.size for axis in axes if not axis.members)
        terms.append(Term(cost.module, cost.factor * fixed / SAMPLES, tuple(axis for axis in axes if axis.members)))
    return tuple(terms)


def told_apart(terms: Iterable[Term]) -> tuple[Term, ...]:
    """The terms, of which the second of a name is called `name#2`, the third `name#3`, and so on."""
    seen: Counter[str] = Counter()
    found = []
    for term in terms:
        seen[term.name] += 1
        found.append(term if seen[term.name] == 1 else replace(term, name=f"{term.name}#{seen[term.name]}"))
    return tuple(found)


def norms_of(trace: Trace, components: Components, found: BuiltGroups) -> dict[str, Norm]:
    """For each module that normalises over units, its width.

    What normalises in several places, as in every head, loses the positions of units that all places share, not those
    of a unit, as a head, that is one place.
    """
    norms = {}
    for module, (dim, labels) in trace.norms.items():
        first, *others = (_axis(row, found.units) for row in np.unique(components.of_label[labels.numpy()], axis=0))
        members = tuple(member for member in first.members if all(member in other.members for other in others))
        if members:
            norms[module] = Norm(first.size, members, dim)
    return norms


def _axis(found: NDArray[np.int64], units: Units) -> Axis:
    """The axis of a length whose positions belong to components."""
    members: dict[str, list[int]] = {}
    for position, component in enumerate(found.tolist()):
        for name, unit in units.get(component, ()):
            members.setdefault(name, [-1] * len(found))[position] = unit
    return Axis(len(found), tuple((name, tuple(numbers)) for name, numbers in members.items()))
