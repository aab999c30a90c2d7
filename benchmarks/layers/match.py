"""Rows of layers: what a runtime runs for each layer of the dense model, beside what it runs for the pruned one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from secateur.benchmarks.bootstrap import Interval, ratio_interval
from secateur.benchmarks.layers.layers_file import LayerRow
from secateur.benchmarks.layers.operations import Array, LayerTimes, Operation


@dataclass(frozen=True)
class Side:
    """The operations of one side that belong to a layer, and their times `[samples, operations]` in milliseconds."""

    operations: tuple[Operation, ...]
    ms: Array

    @property
    def macs(self) -> int:
        """The MACs of all."""
        return sum(one.macs for one in self.operations)

    @property
    def bytes_moved(self) -> int:
        """What all read and write."""
        return sum(one.bytes_moved for one in self.operations)

    @property
    def samples(self) -> Array:
        """The times of the layer; none where the side does not have it."""
        return self.ms.sum(1) if self.operations else np.zeros(0)

    @property
    def medians(self) -> Array:
        """The median of each operation."""
        return np.median(self.ms, 0) if len(self.operations) else np.zeros(0)

    def ms_of(self, operations: Sequence[Operation]) -> float:
        """The medians of some of the operations, added up."""
        chosen = {id(one) for one in operations}
        return float(sum(ms for one, ms in zip(self.operations, self.medians, strict=True) if id(one) in chosen))


@dataclass(frozen=True)
class Matched:
    """A layer on both sides; a side without it has no operations."""

    name: str
    dense: Side
    pruned: Side
    speedup: Interval | None

    def row(self, reason: str = "") -> LayerRow:
        """The layer as it is written."""
        medians = [float(np.median(side.samples)) if side.operations else 0.0 for side in (self.dense, self.pruned)]
        samples = [tuple(round(float(ms), 6) for ms in side.samples) for side in (self.dense, self.pruned)]
        shown = self.dense if self.dense.operations else self.pruned
        return LayerRow(
            name=self.name,
            kind=shown.operations[int(np.argmax(shown.medians))].kind,
            macs_dense=self.dense.macs,
            macs_pruned=self.pruned.macs,
            bytes_dense=self.dense.bytes_moved,
            bytes_pruned=self.pruned.bytes_moved,
            ms_dense=medians[0],
            ms_pruned=medians[1],
            ratio=self.speedup.ratio if self.speedup else None,
            low=self.speedup.low if self.speedup else None,
            high=self.speedup.high if self.speedup else None,
            reason=reason,
            runs_dense=tuple(one.kind for one in self.dense.operations),
            runs_pruned=tuple(one.kind for one in self.pruned.operations),
            samples_dense_ms=samples[0],
            samples_pruned_ms=samples[1],
        )


def match_layers(dense: LayerTimes, pruned: LayerTimes, seed: int = 0) -> list[Matched]:
    """The layers of both sides by their names, in the order in which the dense model runs them.

    What one side has fused into the operation of another layer, and the other runs for itself, is in that other layer
    on both sides: only so the same work stands in the same row.
    """
    homes = _homes(dense.operations, pruned.operations)
    names = list(dict.fromkeys(homes[one.layer] for side in (dense, pruned) for one in side.operations))
    found = []
    for name in names:
        one, two = (_part(side, homes, name) for side in (dense, pruned))
        found.append(Matched(name, one, two, _speedup(one, two, seed, dense.processes)))
    return found


def _homes(*sides: Sequence[Operation]) -> dict[str, str]:
    """For each layer the name of its row."""
    owned = [{one.layer for one in operations} for operations in sides]
    homes = {layer: layer for layers in owned for layer in layers}

    def home(layer: str) -> str:
        while homes[layer] != layer:
            layer = homes[layer]
        return layer

    for place, operations in enumerate(sides):
        mine, others = owned[place], owned[1 - place]
        for one in operations:
            for layer in one.others:
                if layer in others and layer not in mine and home(layer) != home(one.layer):
                    homes[home(layer)] = home(one.layer)
    return {layer: home(layer) for layer in homes}


def _part(side: LayerTimes, homes: Mapping[str, str], name: str) -> Side:
    places = [place for place, one in enumerate(side.operations) if homes[one.layer] == name]
    return Side(tuple(side.operations[place] for place in places), side.ms[:, places])


def _speedup(dense: Side, pruned: Side, seed: int, processes: Sequence[int]) -> Interval | None:
    """Dense over pruned; None where a side has nothing there, or takes less than its clock can count."""
    if not dense.operations or not pruned.operations:
        return None
    one, two = dense.samples, pruned.samples
    if not ((one > 0).all() and (two > 0).all()):
        return None
    return ratio_interval(one, two, seed, processes=processes)
