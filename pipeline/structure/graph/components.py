"""Components: the sets of labels that go together, and how they lie in a model's parameters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from secateur.pipeline.structure.graph.coupling import Mark
from secateur.pipeline.structure.graph.trace import Trace

Place = tuple[str, int]
"""A dimension of a parameter or buffer: its name and the number of the dimension."""


@dataclass(frozen=True)
class Components:
    """The sets of labels that go together: the connected components of the coupling.

    `of_label` has the component of every label, `at[place]` that of every position of a parameter's dimension, `heads`
    those of queries, keys and values, `[heads, dims]` each, and `pieces` those that are all dimensions of a head, with
    the reason. `reasons` says why a component stays. What is coupled across heads has components of its own in each
    head: `units` has what goes together as one dimension of all heads, and `unit_of` for each component its one there.
    """

    of_label: NDArray[np.int64]
    heads: list[NDArray[np.int64]]
    at: dict[Place, NDArray[np.int64]]
    reasons: dict[int, str]
    marks: dict[Mark, set[int]]
    pieces: Mapping[int, str] = field(default_factory=dict)
    units: Components | None = None
    unit_of: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    @property
    def of_units(self) -> Components:
        """What goes together as one unit that is no head."""
        return self.units or self

    def within(self, unit: int) -> list[int]:
        """The components of one of `of_units`."""
        if self.units is None:
            return [unit]
        ordered, starts = self._by_unit
        found: list[int] = ordered[starts[unit] : starts[unit + 1]].tolist()
        return found

    @cached_property
    def _by_unit(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The components in the order of their units, and where those of each unit start."""
        ordered = np.argsort(self.unit_of, kind="stable")
        return ordered, np.searchsorted(self.unit_of[ordered], np.arange(self.unit_of.max() + 2))


def components_of(trace: Trace) -> Components:
    """Solves what the trace has collected."""
    of_label, parts = trace.coupling.solved()
    units = _solved(trace, of_label)
    if uneven := _uneven(trace, units):
        for heads in uneven:
            trace.coupling.couple(heads, heads[:1], across=True)
        of_label, parts = trace.coupling.solved()
        units = _solved(trace, of_label)
    unit_of = np.zeros(int(parts.max()) + 1, dtype=np.int64)
    unit_of[parts] = units.of_label
    return replace(_solved(trace, parts), units=units, unit_of=unit_of)


def _uneven(trace: Trace, components: Components) -> list[Tensor]:
    """The queries, keys and values `[heads, dims]` of one attention whose heads lie in different places.

    They would be of several groups, each of a width of its own, but an attention has one for all of its heads. So are
    those of CoaT, whose values three convolutions see.
    """
    family = np.full(int(components.of_label.max()) + 1, -1)
    for number, (_, members) in enumerate(by_signature(components)):
        family[[member for member in members if member not in components.reasons]] = number
    rows = [(labels, family[found]) for labels, found in zip(trace.heads, components.heads, strict=True)]
    return [labels for labels, found in rows if (found >= 0).all() and (found != found[:1]).any()]


def _solved(trace: Trace, of_label: NDArray[np.int64]) -> Components:
    at = {
        (name, dim): of_label[labels.numpy()]
        for name, dims in trace.tensors.items()
        for dim, labels in enumerate(dims)
        if labels is not None
    }
    marks = {mark: trace.coupling.marked(mark, of_label) for mark in get_args(Mark)}
    heads = [of_label[labels.numpy()] for labels in trace.heads]
    reasons, pieces = trace.coupling.reasons(of_label), trace.coupling.pieces(of_label)
    return Components(of_label, heads, at, reasons, marks, pieces)


def by_signature(components: Components) -> list[tuple[list[Place], list[int]]]:
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


def by_head(components: Components, live: list[int]) -> tuple[list[int], int]:
    """The components in the order of their heads, and how many heads they form; 1 where they are in none.

    Heads that share keys and values are one. The dimensions of a head may also be in other groups, as those of it that
    a rotation turns.
    """
    members = set(live)
    for found in components.heads:
        inside = ([component for component in dict.fromkeys(row) if component in members] for row in found.tolist())
        heads = list(dict.fromkeys(tuple(row) for row in inside if row))
        order = [component for head in heads for component in head]
        if len(heads) > 1 and len(order) == len(live) and len({*map(len, heads)}) == 1 and set(order) == members:
            return order, len(heads)
    return live, 1


def numbered(found: NDArray[np.int64], live: Sequence[int]) -> tuple[int, ...]:
    """For each position, with its component in `found`, the number of that among `live`; -1 where it is not one."""
    number = np.full(max(int(found.max()), *live) + 1, -1)
    number[live] = np.arange(len(live))
    return tuple(number[found].tolist())
