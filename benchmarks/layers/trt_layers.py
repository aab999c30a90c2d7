"""Times of TensorRT's layers by its profiler; its inspector says what they were made of. TensorRT-RTX has both too."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import numpy as np

from secateur.benchmarks.layers.graph_work import WHOLE, GraphWork
from secateur.benchmarks.layers.operations import LayerTimes, Operation, graph_operation
from secateur.benchmarks.runners import engine_runner
from secateur.core.errors import BenchError
from secateur.core.input_spec import InputSpec
from secateur.export.trt_engine import TrtEngine
from secateur.export.trt_inspect import InspectedLayer

MOST_RUNS = 20_000
"""Runs whose layers are kept."""


class TrtLayers:
    """An engine under its runtime's profiler (see `operations.Profiled`); the engine is closed with it."""

    most_runs = MOST_RUNS

    def __init__(self, engine: TrtEngine, work: GraphWork, batch: int, called_with: InputSpec | None = None) -> None:
        self._operations = engine_operations(work, engine.layers())
        self.notes = work.notes
        self._runner = engine_runner(engine, batch, called_with=called_with)
        self._reported = engine.report_layers()
        self._runs: list[list[tuple[str, float]]] = []

    def run(self) -> None:
        """Runs once, which is recorded."""
        self._reported.clear()
        self._runner.run()
        self._runner.wait()
        self._runs.append(list(self._reported))

    def recording(self) -> AbstractContextManager[object]:
        """The profiler is always on."""
        return nullcontext()

    @property
    def recorded(self) -> int:
        """How many runs have been recorded."""
        return len(self._runs)

    def finish(self) -> LayerTimes:
        """What the profiler has reported; raises `BenchError` where runs differ or it reports nothing."""
        return times_of(self._runs, self._operations)

    def close(self) -> None:
        """Closes the engine."""
        self._runner.close()


def times_of(runs: Sequence[Sequence[tuple[str, float]]], operations: Iterable[Operation]) -> LayerTimes:
    """The times of all runs; a layer that the inspector does not name is of no layer of the model."""
    if not runs or not runs[0]:
        raise BenchError("the profiler of TensorRT reports no layer: build the engine again with secateur")
    names = [name for name, _ in runs[0]]
    if any([name for name, _ in run] != names for run in runs):
        raise BenchError("the profiler of TensorRT reports other layers in each run: profile for more --seconds")
    known = {one.name: one for one in operations}
    found = [known.get(name, Operation(name, "not inspected", WHOLE)) for name in names]
    return LayerTimes(tuple(found), np.array([[ms for _, ms in run] for run in runs]))


def engine_operations(work: GraphWork, layers: Sequence[InspectedLayer]) -> tuple[Operation, ...]:
    """For each layer of an engine what the nodes of the graph that it was made of cost; each node counts once.

    A layer that was made of none changes a layout for another one, which its name may end with.
    """
    claimed: set[str] = set()
    found = []
    for layer in layers:
        sources = {work.named[name] for name in layer.operations if name in work.named} - claimed
        claimed |= sources
        found.append(graph_operation(work, layer.name, layer.kind, sources))
    homes = {one.name: one.layer for one in found if one.layer}
    return tuple(one if one.layer else replace(one, layer=_home(one, homes)) for one in found)


def _home(operation: Operation, homes: dict[str, str]) -> str:
    """The layer that a reformat is made for: `Reformatting CopyNode for Input Tensor 0 to NAME` says it."""
    found = re.search(r" (?:to|from) (.+)$", operation.name)
    return homes.get(found[1], WHOLE) if found else WHOLE
