"""layers.json: what each layer of both sides of a run costs and takes on a target, with the raw samples.

A row is a layer by its name in the model: what the runtime runs for it on the dense side, beside what it runs on the
pruned one. The samples of both sides pair up as those of bench.json do: of each side, samples `2 i` and `2 i + 1`
belong to the same block A B B A, and those of each process stand together.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from secateur.benchmarks.environment import Environment
from secateur.core.errors import BenchError
from secateur.core.records import read_record, write_record

KIND, FILE = "layers", "layers.json"


@dataclass(frozen=True)
class Roofline:
    """What a target can do at best: multiply-accumulates and bytes per second, and where the numbers come from.

    `floor_ms` is what a layer with next to nothing to do takes there; no layer can be made faster than that.
    """

    macs_per_s: float
    bytes_per_s: float
    source: str = ""
    floor_ms: float = 0.0

    @property
    def ridge(self) -> float:
        """The MACs per byte below which the memory, and not the arithmetic, is the limit."""
        return self.macs_per_s / self.bytes_per_s

    def raised(self, rows: Iterable[LayerRow]) -> Roofline:
        """The roofline with at least the arithmetic that one of the layers has shown."""
        done = [(macs / ms * 1e3, row.name) for row in rows for macs, ms in row.work if macs and ms]
        fastest, name = max(done, default=(0.0, ""))
        if fastest <= self.macs_per_s:
            return self
        return replace(self, macs_per_s=fastest, source=f"{self.source}; more arithmetic was seen in {name}")

    def least_ms(self, macs: int, bytes_moved: int) -> float:
        """The least time of so much arithmetic and traffic, in milliseconds (Williams et al., 2009)."""
        return 1e3 * max(macs / self.macs_per_s, bytes_moved / self.bytes_per_s)


@dataclass(frozen=True)
class LayerRow:
    """One layer: its work, its traffic (weights and activations) and its median time, dense and pruned.

    `kind` is that of its slowest operation in the runtime's words, and `runs_dense` and `runs_pruned` are all of them.
    `ratio` is how many times as fast the pruned one is, with its 95 % interval in `low` and `high`: None where a side
    does not have the layer, or is too fast for the runtime's clock. `reason` says why it lost MACs but no time; it is
    empty where there is nothing to explain.
    """

    name: str
    kind: str
    macs_dense: int
    macs_pruned: int
    bytes_dense: int
    bytes_pruned: int
    ms_dense: float
    ms_pruned: float
    ratio: float | None
    low: float | None
    high: float | None
    reason: str = ""
    runs_dense: tuple[str, ...] = ()
    runs_pruned: tuple[str, ...] = ()
    samples_dense_ms: tuple[float, ...] = ()
    samples_pruned_ms: tuple[float, ...] = ()

    @property
    def work(self) -> tuple[tuple[int, float], tuple[int, float]]:
        """The MACs and milliseconds of both sides."""
        return (self.macs_dense, self.ms_dense), (self.macs_pruned, self.ms_pruned)

    @property
    def intensity_dense(self) -> float | None:
        """MACs per byte of the dense layer; None where it moves nothing."""
        return self.macs_dense / self.bytes_dense if self.bytes_dense else None

    @property
    def intensity_pruned(self) -> float | None:
        """MACs per byte of the pruned layer; None where it moves nothing."""
        return self.macs_pruned / self.bytes_pruned if self.bytes_pruned else None


@dataclass(frozen=True)
class LayerProfile:
    """All layers of a run on a target in the order in which they run, with the target's roofline.

    `ms_dense` and `ms_pruned` are the medians of the whole models without a profiler; the layers add up to more where
    its own work shows, and to less where a runtime does something between them. `processes` are the numbers of samples
    of a layer that each process measured, empty where there was one.
    """

    target: str
    batch: int
    rows: tuple[LayerRow, ...]
    roofline: Roofline
    environment: Environment
    ms_dense: float
    ms_pruned: float
    ratio: float
    low: float
    high: float
    notes: tuple[str, ...] = ()
    command: str = ""
    processes: tuple[int, ...] = ()

    def share_dense(self, row: LayerRow) -> float:
        """The share of a row in the time of all dense layers."""
        return row.ms_dense / (sum(one.ms_dense for one in self.rows) or 1.0)

    def share_pruned(self, row: LayerRow) -> float:
        """The share of a row in the time of all pruned layers."""
        return row.ms_pruned / (sum(one.ms_pruned for one in self.rows) or 1.0)

    def save(self, path: Path) -> None:
        """Writes layers.json, atomically."""
        write_record(path, KIND, self)


def read_layers(path: str | Path) -> LayerProfile:
    """The profile in a layers.json, or in that of a run directory.

    Raises `RunError` when the file cannot be read or has another schema, and `BenchError` when its content is not
    what the schema says.
    """
    path = Path(path)
    if path.is_dir():
        path = path / FILE
    return read_record(path, KIND, LayerProfile, BenchError, "measure again with `secateur profile RUN --layers`")
