"""The distribution of both sides' latency samples on each target, as bars in percent of a chart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from secateur.benchmarks.results_file import BenchResult, Latency
from secateur.pipeline.report.axes import Axis
from secateur.pipeline.report.certainty import Judged
from secateur.pipeline.report.table import faster, speed

BINS = 48


@dataclass(frozen=True)
class SideChart:
    """One side: the percentiles in ms, where the median lies, and the heights of the bars from left to right."""

    latency: Latency
    median: float
    heights: tuple[float, ...]


@dataclass(frozen=True)
class LatencyChart:
    """Both sides on one target, up to the 99th percentile, on an axis in ms; all places are in percent of the chart."""

    target: str
    dense: SideChart
    pruned: SideChart
    axis: Axis
    said: str
    judged: Judged

    @property
    def batch(self) -> int:
        """How many images a run of both sides takes."""
        return self.pruned.latency.batch


def latency_charts(bench: BenchResult) -> list[LatencyChart]:
    """A chart for each target that was measured."""
    return [_chart(bench, target) for target in bench.speedup]


def _chart(bench: BenchResult, target: str) -> LatencyChart:
    sides = [side.latency_ms[target] for side in (bench.dense, bench.pruned)]
    axis = Axis.over([*(min(side.samples) for side in sides), *(side.p99 for side in sides)])
    counts = [np.histogram(side.samples, bins=BINS, range=(axis.low, axis.high))[0] for side in sides]
    highest = max(int(count.max()) for count in counts) or 1
    dense, pruned = (
        SideChart(side, axis.place(side.p50), _heights(count.tolist(), highest))
        for side, count in zip(sides, counts, strict=True)
    )
    found = bench.speedup[target]
    return LatencyChart(target, dense, pruned, axis, speed(found), faster(found))


def _heights(counts: Sequence[int], highest: int) -> tuple[float, ...]:
    return tuple(100 * count / highest for count in counts)
