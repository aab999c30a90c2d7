"""Where the time goes: each layer of both sides, and why one that lost MACs is no faster."""

from __future__ import annotations

from dataclasses import dataclass

from secateur.benchmarks.bootstrap import Interval
from secateur.benchmarks.layers.layers_file import LayerProfile, LayerRow
from secateur.pipeline.report.certainty import Judged, judged
from secateur.pipeline.report.folded_table import FoldedTable
from secateur.pipeline.report.table import compact, speed

SHOWN = 20
"""So many layers are drawn, those that take longest."""
SIDES = ("MACs dense", "MACs pruned", "kB dense", "kB pruned", "ms dense", "ms pruned")
HEADS = ("layer", "kind", *SIDES, "speed", "why it is no faster")


@dataclass(frozen=True)
class LayerTime:
    """One layer: both times in ms, their bars in percent of the longest, and what the ratio's interval shows."""

    name: str
    dense_ms: float
    pruned_ms: float
    dense: float
    pruned: float
    said: str
    judged: Judged
    reason: str


@dataclass(frozen=True)
class LayerTimes:
    """The layers that take longest, in the order in which they run, and `blamed`: all that lost MACs but no time."""

    target: str
    batch: int
    whole: str
    layers: tuple[LayerTime, ...]
    left: int
    blamed: tuple[LayerTime, ...]
    notes: tuple[str, ...]
    table: FoldedTable


def layer_times(profile: LayerProfile) -> LayerTimes:
    """What `secateur profile RUN --layers` found, for drawing."""
    longest = max((max(row.ms_dense, row.ms_pruned) for row in profile.rows), default=0.0) or 1.0
    order = sorted(profile.rows, key=lambda row: -max(row.ms_dense, row.ms_pruned))
    chosen = {row.name for row in order[:SHOWN]}
    whole = speed(Interval(profile.ratio, profile.low, profile.high))
    return LayerTimes(
        target=profile.target,
        batch=profile.batch,
        whole=f"{profile.ms_dense:.3f} ms dense, {profile.ms_pruned:.3f} ms pruned: {whole}",
        layers=tuple(_time(row, longest) for row in profile.rows if row.name in chosen),
        left=len(profile.rows) - len(chosen),
        blamed=tuple(_time(row, longest) for row in order if row.reason),
        notes=profile.notes,
        table=_table(profile),
    )


def _time(row: LayerRow, longest: float) -> LayerTime:
    said, shown = _ratio(row)
    widths = 100 * row.ms_dense / longest, 100 * row.ms_pruned / longest
    return LayerTime(row.name, row.ms_dense, row.ms_pruned, *widths, said, shown, row.reason)


def _ratio(row: LayerRow) -> tuple[str, Judged]:
    """How many times as fast the pruned layer is; nothing where a side lacks it or it is too fast for the clock."""
    if row.ratio is None or row.low is None or row.high is None:
        return "", "unclear"
    return speed(Interval(row.ratio, row.low, row.high)), judged(row.low, row.high, 1)


def _table(profile: LayerProfile) -> FoldedTable:
    said = f"Medians on {profile.target} with a batch of {profile.batch}, in the order in which the layers run."
    rows = tuple(
        (
            *(row.name, row.kind, compact(row.macs_dense), compact(row.macs_pruned)),
            *(f"{row.bytes_dense / 1e3:.1f}", f"{row.bytes_pruned / 1e3:.1f}"),
            *(f"{row.ms_dense:.4f}", f"{row.ms_pruned:.4f}", _ratio(row)[0], row.reason),
        )
        for row in profile.rows
    )
    return FoldedTable("Every layer's time", said, HEADS, rows, frozenset(SIDES))
