"""bench.json: what was measured on both sides of a comparison, with the raw samples.

A latency is keyed by its target, with the precision of the graph where that is not fp32 (`onnxruntime:cpu`,
`onnxruntime:cpu@fp16`) and the mode where that is not hot (`onnxruntime:cpu@cold`, see `modes.mode`), and where several
batch sizes were measured by the batch too (`onnxruntime:cpu@b8`, `onnxruntime:cpu@fp16@b8`); its batch and its mode
also stand beside it. What was skipped is named in the same way: a target, a target in one precision or mode, or one
batch of it. The samples of a target pair up: of
each side, samples `2 i` and `2 i + 1` belong to the same block A B B A.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from secateur.benchmarks.bootstrap import Interval, percentiles
from secateur.benchmarks.consistency import check_consistent
from secateur.benchmarks.environment import Environment
from secateur.benchmarks.gating.matched_pairs import Pairs
from secateur.benchmarks.gating.ran import Ran
from secateur.benchmarks.keys import TOP1
from secateur.benchmarks.modes.mode import parse_mode
from secateur.core.errors import BenchError
from secateur.core.files import read_json, write_json
from secateur.core.records import parse_record
from secateur.export.runner.sensors.conditions import Conditions

KIND = "bench"
TAIL_SAMPLES = 5000
"""Samples that a 99.9th percentile needs: five of them lie beyond it."""


@dataclass(frozen=True)
class Latency:
    """Percentiles and raw samples in milliseconds, for one run of `batch` images in a `mode` (see `modes.mode`).

    `p999`, the 99.9th percentile, is None of fewer than `TAIL_SAMPLES`. `stopped` says what ended the measurement:
    `precise`, `seconds` or `samples`; empty where nobody noted it. `processes` are the numbers of samples that each
    process measured, in their order; empty where there was one.
    """

    batch: int
    p50: float
    p90: float
    p99: float
    samples: tuple[float, ...]
    p999: float | None = None
    mode: str = "hot"
    stopped: str = ""
    processes: tuple[int, ...] = ()

    @staticmethod
    def of(
        samples: Sequence[float], batch: int, mode: str = "hot", stopped: str = "", processes: tuple[int, ...] = ()
    ) -> Latency:
        """The latency that these samples show."""
        tail = float(np.percentile(samples, 99.9)) if len(samples) >= TAIL_SAMPLES else None
        return Latency(batch, *percentiles(samples), tuple(samples), tail, mode, stopped, processes)

    @property
    def images_per_second(self) -> float:
        """The throughput at the median: of all sessions together where several run at once."""
        return 1000 * self.batch * parse_mode(self.mode).sessions / self.p50


@dataclass(frozen=True)
class Compared:
    """What both sides reach by one metric on the held-out split; `unit` is "%", or empty where it is the labels'.

    Of a share of the images, `pairs` tells how both sides answered the same ones, and `by_class` those of each class.
    """

    name: str
    dense: float
    pruned: float
    higher_is_better: bool = True
    unit: str = "%"
    pairs: Pairs | None = None
    by_class: Mapping[str, Pairs] = field(default_factory=dict)

    @property
    def loss(self) -> float:
        """How much worse the pruned side is, in the metric's unit; negative where it is better."""
        return self.dense - self.pruned if self.higher_is_better else self.pruned - self.dense


@dataclass(frozen=True)
class Side:
    """One model: its cost for one image, its size, its accuracy, its latency by key.

    What is not known is None: an ONNX file alone says no MACs, and random weights have no top-1 (percent on the
    held-out split). `size_bytes` is the size in fp32: of the ONNX file with its external weights, or of the tensors.
    `unsupported` counts operations that may carry MACs and are not in `macs`. By target and precision, `ran` says what
    its graph or engine was found to run in, and `sizes` how many bytes that has, external weights among them.
    """

    name: str = ""
    macs: int | None = None
    params: int | None = None
    size_bytes: int | None = None
    top1: float | None = None
    unsupported: Mapping[str, int] = field(default_factory=dict)
    latency_ms: Mapping[str, Latency] = field(default_factory=dict)
    ran: Mapping[str, Ran] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Narrowed:
    """The pruned side on one target in 8 bits beside the fastest wider precision, measured in turns.

    `speedup` is wide over narrow, with its 95 % interval.
    """

    target: str
    precision: str
    wider: str
    wide_ms: Latency
    narrow_ms: Latency
    speedup: Interval

    @property
    def keeps(self) -> str:
        """The precision to run there: the narrow one only where the whole interval says that it is faster."""
        return self.precision if self.speedup.low > 1 else self.wider

    @property
    def said(self) -> str:
        """What was found, in a sentence."""
        found, where = self.speedup, f"{self.target}, batch {self.wide_ms.batch}"
        if self.keeps == self.precision:
            return f"{where}: {self.precision} is {found} times as fast as {self.wider}"
        how = "is not faster" if found.high < 1 else "is not shown to be faster"
        return f"{where}: {self.precision} {how} than {self.wider} ({found} times as fast): keep {self.wider} there"


@dataclass(frozen=True)
class BenchResult:
    """A comparison. `speedup` is dense over pruned, with its 95 % interval (see `bootstrap.ratio_interval`).

    `skipped` says for each target that was asked for and not measured why; `notes` what a reader should know about
    the numbers. `metric` judges both sides in what the model is for, `other_metrics` tell more; `evaluation_images` is
    the number of images behind them, where it is known, and `command` the one that measured. `narrowed` says where
    8 bits pay, and `accuracy` what an engine of the pruned side reaches itself, by its target and precision, beside the
    dense model. `parity` is by precision how far the pruned side's graph is from PyTorch (its largest difference over
    the scale of the output), and `widths` what pruning has left of each weight that it cut. `device` names the one that
    was measured over ssh, and `conditions` by key what it was like. Sides that were not measured `in_turn` have nothing
    between them that cancels the machine.
    """

    environment: Environment
    dense: Side
    pruned: Side
    speedup: Mapping[str, Interval]
    skipped: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    evaluation_images: int | None = None
    command: str = ""
    metric: Compared | None = None
    other_metrics: tuple[Compared, ...] = ()
    narrowed: tuple[Narrowed, ...] = ()
    accuracy: Mapping[str, Compared] = field(default_factory=dict)
    parity: Mapping[str, float] = field(default_factory=dict)
    widths: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    device: str = ""
    conditions: Mapping[str, Conditions] = field(default_factory=dict)
    in_turn: bool = True

    @property
    def sizes(self) -> Mapping[str, tuple[int, int]]:
        """The bytes of both sides by what runs them, a target with its precision; of one size for all under ""."""
        both = self.dense.size_bytes, self.pruned.size_bytes
        whole = {} if both[0] is None or both[1] is None else {"": (both[0], both[1])}
        found = {
            goal: (size, self.pruned.sizes[goal])
            for goal, size in self.dense.sizes.items()
            if goal in self.pruned.sizes
        }
        return whole if {*found.values()} <= {*whole.values()} else found

    @property
    def judged(self) -> Compared | None:
        """The metric that judges; of a file that names none, top-1 where both sides have it."""
        if self.metric is not None or self.dense.top1 is None or self.pruned.top1 is None:
            return self.metric
        return Compared(TOP1, self.dense.top1, self.pruned.top1)

    def save(self, path: Path) -> None:
        """Writes bench.json, atomically."""
        write_json(path, KIND, dataclasses.asdict(self))


def read_bench(path: str | Path) -> BenchResult:
    """The result in a bench.json, or in that of a run directory.

    Raises `RunError` when the file cannot be read or has another schema, and `BenchError` when its content is not
    what the schema says.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "bench.json"
    return parse_bench(read_json(path, KIND), str(path))


def parse_bench(content: Mapping[str, Any], where: str) -> BenchResult:
    """A result from the content of a bench.json; `where` names it in errors."""
    result = parse_record(BenchResult, content, where, BenchError, "measure again with `secateur bench`")
    check_consistent(result, where)
    return result
