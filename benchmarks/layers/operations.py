"""What a runtime runs for a model, operation by operation, and how long each took in each run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import trim_mean

from secateur.benchmarks.layers.alone import Alone
from secateur.benchmarks.layers.graph_work import VIEWS, GraphWork
from secateur.core.errors import BenchError

MOVES = VIEWS | {"Cast", "Concat", "Expand", "Gather", "Pad", "Slice", "Split", "Tile", "Transpose"}
"""Operations of ONNX that compute nothing on the values that they move."""

Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Operation:
    """One operation as the runtime runs it: its kind in the runtime's words, and the layer that it does most for.

    `does` are the kinds of the exported graph's nodes whose work it does; a fused one does several, and those of other
    layers too, which `others` names. One that `moves` changes the place, the layout or the type of tensors and computes
    nothing. `provider` is who runs it, where a runtime has several, and `product` what it multiplies, where that is one
    layer that can be timed alone.
    """

    name: str
    kind: str
    layer: str
    macs: int = 0
    bytes_moved: int = 0
    others: tuple[str, ...] = ()
    does: tuple[str, ...] = ()
    moves: bool = False
    provider: str = ""
    product: Alone | None = None


@dataclass(frozen=True)
class LayerTimes:
    """The operations in the order in which they run, and their times `[runs, operations]` in milliseconds.

    `processes` are the numbers of runs of each process, empty where there was one.
    """

    operations: tuple[Operation, ...]
    ms: Array
    processes: tuple[int, ...] = ()


def joined_times(parts: Sequence[LayerTimes]) -> LayerTimes:
    """What several processes measured, one after the other; raises `BenchError` where they ran other operations.

    A runtime may give what it inserts another name and another place in the order each time.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    times = [part.ms[:, _places(first.operations, part.operations)] for part in parts]
    return LayerTimes(first.operations, np.concatenate(times), tuple(len(ms) for ms in times))


def _places(wanted: Sequence[Operation], given: Sequence[Operation]) -> list[int]:
    """Where each of the wanted operations is among those given, those that are alike but for their names in order."""
    left: dict[Operation, list[int]] = {}
    for place, one in enumerate(given):
        left.setdefault(replace(one, name=""), []).append(place)
    found = [left[key].pop(0) for one in wanted if left.get(key := replace(one, name=""))]
    if not len(wanted) == len(given) == len(found):
        raise BenchError(
            "the runtime runs other operations for one model in another process, and the times of both cannot be put "
            "together: profile in one process (bench.processes: 1 in the recipe)"
        )
    return found


class Profiled(Protocol):
    """A model under its runtime's profiler."""

    @property
    def most_runs(self) -> int:
        """How many runs the profiler can keep."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be known of its times and its work."""
        ...

    def run(self) -> None:
        """Runs once."""
        ...

    def recording(self) -> AbstractContextManager[object]:
        """A block whose runs are recorded; a profiler that is always on records the others too."""
        ...

    @property
    def recorded(self) -> int:
        """How many runs have been recorded."""
        ...

    def finish(self) -> LayerTimes:
        """The times of all recorded runs; nothing can be run afterwards."""
        ...

    def close(self) -> None:
        """Frees what was prepared."""
        ...


class Sampled:
    """A profiled model as `measure_pair` takes it (see `latency.Timed`): a sample is made of `repeats` runs.

    It is the mean of the middle half of their times, of each operation for itself: that has a finer grain than a
    profiler that counts whole microseconds, and a run that was interrupted does not count. One run more comes before
    each sample, for a profiler that is just started disturbs it.
    """

    def __init__(self, profiled: Profiled, repeats: int) -> None:
        self._profiled, self._repeats = profiled, repeats
        self._timed: list[int] = []  # of each sample the number of its first run
        self.clock = self

    def run(self) -> None:
        """Runs as often as a sample needs."""
        for _ in range(self._repeats):
            self._profiled.run()

    def time_ms(self, run: Callable[[], object]) -> float:
        """The milliseconds of one run, the mean of a sample."""
        with self._profiled.recording():
            self._profiled.run()
            self._timed.append(self._profiled.recorded)
            start = perf_counter()
            run()
            return 1e3 * (perf_counter() - start) / self._repeats

    def close(self) -> None:
        """Does nothing: the model is closed by who opened it."""

    def samples(self, count: int) -> LayerTimes:
        """The operations and their times `[count, operations]`: those of the last samples, the others are warm-up."""
        found = self._profiled.finish()
        runs = [found.ms[first : first + self._repeats] for first in self._timed[-count:]]
        return LayerTimes(found.operations, np.stack([trim_mean(ms, 0.25, axis=0) for ms in runs]))


def graph_operation(
    work: GraphWork, name: str, kind: str, sources: Collection[str], tensor: str = "", layer: str = ""
) -> Operation:
    """An operation that does what the nodes `sources` of the graph say; without any it moves `tensor` for `layer`."""
    if not sources:
        return Operation(name, kind, layer, bytes_moved=2 * work.sizes.get(tensor, 0), moves=True)
    first, *others = work.layers_of(sources)
    does = tuple(node.kind for key, node in work.nodes.items() if key in sources)
    products = [node.product for key, node in work.nodes.items() if key in sources and node.product is not None]
    return Operation(
        *(name, kind, first, work.macs_of(sources), work.bytes_of(sources), tuple(others), does),
        moves=MOVES.issuperset(does),
        product=products[0] if len(products) == 1 else None,
    )
