"""The pictures of a run: kept units layer by layer, and the latency distributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from secateur.benchmarks.results_file import BenchResult
from secateur.pipeline.structure.describe import GroupRow

DENSE, PRUNED = "#b8bec7", "#2a6f4e"
KIND_TITLES = {
    "head": "attention heads",
    "qk_dim": "query/key dimensions",
    "v_dim": "value dimensions",
    "mlp_hidden": "MLP hidden units",
    "channel": "convolution channels",
    "width": "residual width",
}


def kept_units(groups: Sequence[GroupRow], kept: Mapping[str, Sequence[int]]) -> Figure:
    """For each kind that was pruned, a bar for each layer: the dense units behind, the kept ones in front."""
    kinds = [kind for kind in KIND_TITLES if any(group.kind == kind and group.name in kept for group in groups)]
    longest = max([sum(group.kind == kind for group in groups) for kind in kinds] or [1])
    figure = Figure(figsize=(max(7.0, 0.22 * longest + 2), 0.9 + 2.3 * max(len(kinds), 1)), layout="constrained")
    for place, kind in enumerate(kinds):
        axes = figure.add_subplot(len(kinds), 1, place + 1)
        rows = [group for group in groups if group.kind == kind]
        dense = [row.units for row in rows]
        left = [len(kept.get(row.name, range(row.units))) for row in rows]
        places = range(len(rows))
        axes.bar(places, dense, color=DENSE, label="dense")
        axes.bar(places, left, color=PRUNED, label="kept")
        axes.set_title(f"{KIND_TITLES[kind]}: {sum(left):,} of {sum(dense):,} kept", loc="left", fontsize=10)
        axes.set_xticks(list(places), [_short(row.name) for row in rows], rotation=90 if len(rows) > 8 else 0)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylim(0, max(dense) * 1.25)
        if place == 0:
            axes.legend(loc="upper right", ncols=2, frameon=False, fontsize=8)
    if not kinds:
        figure.text(0.5, 0.5, "no units were removed", ha="center")
    return figure


def latency(bench: BenchResult) -> Figure:
    """For each target, the distribution of the raw latency samples of both sides, medians marked."""
    targets = list(bench.speedup)
    figure = Figure(figsize=(7.0, 0.7 + 2.0 * max(len(targets), 1)), layout="constrained")
    for place, target in enumerate(targets):
        axes = figure.add_subplot(len(targets), 1, place + 1)
        sides = [side.latency_ms[target] for side in (bench.dense, bench.pruned)]
        top = 1.15 * max(side.p99 for side in sides)
        bottom = 0.9 * min(min(side.samples) for side in sides)
        for side, colour, label in zip(sides, (DENSE, PRUNED), ("dense", "pruned"), strict=True):
            axes.hist(side.samples, bins=60, range=(bottom, top), color=colour, alpha=0.85, label=label)
            axes.axvline(side.p50, color=colour, linestyle="--", linewidth=1)
        axes.set_title(f"{target}: {bench.speedup[target].ratio:.2f}x", loc="left", fontsize=10)
        axes.set_xlabel("latency (ms), up to the 99th percentile", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    if not targets:
        figure.text(0.5, 0.5, "no latency was measured", ha="center")
    return figure


def _short(name: str) -> str:
    """A group's name without the words that all names share: `blocks.3.mlp.hidden` is `3`."""
    numbers = [word for word in name.split(".") if word.isdigit()]
    return ".".join(numbers) or name.rpartition(".")[2]
