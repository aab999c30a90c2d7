"""Several runs side by side: what each reaches and costs, as a table and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from secateur.benchmarks.figure_text import figure_text
from secateur.benchmarks.results_file import BenchResult, read_bench
from secateur.core.errors import BenchError
from secateur.pipeline.report.table import Row, faster, rows_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {"gain": "#2a6f4e", "loss": "#c0392b", "unclear": "#7d8590"}


@dataclass(frozen=True)
class Quantity:
    """One measured quantity: that of the dense model, and the row of each run, None where it was not measured there."""

    name: str
    dense: str
    runs: tuple[Row | None, ...]


@dataclass(frozen=True)
class Comparison:
    """The runs by their folders, their results, the quantities that any has, and what is not the same in all."""

    runs: tuple[str, ...]
    results: tuple[BenchResult, ...]
    quantities: tuple[Quantity, ...]
    notes: tuple[str, ...]


def compare_runs(folders: Sequence[Path]) -> Comparison:
    """The runs in their order; raises `BenchError` for fewer than two, or for one that is named twice."""
    names = tuple(str(folder) for folder in folders)
    if len(names) < 2 or len({folder.resolve() for folder in folders}) < len(names):
        raise BenchError(f"a comparison needs two or more runs, each once, but got {', '.join(names) or 'none'}")
    results = tuple(map(read_bench, folders))
    rows = [{row.name: row for row in rows_of(result)} for result in results]
    quantities = []
    for name in dict.fromkeys(name for found in rows for name in found):
        of_runs = tuple(found.get(name) for found in rows)
        dense = next(row.dense for row in of_runs if row is not None)
        quantities.append(Quantity(name, dense, of_runs))
    return Comparison(names, results, tuple(quantities), tuple(_notes(names, results)))


def comparison_figure(found: Comparison) -> Figure:
    """The metric over the share of the MACs, and over the speedup on each target: a point for each run."""
    from matplotlib.figure import Figure

    targets = list(dict.fromkeys(target for result in found.results for target in result.speedup))
    figure = Figure(figsize=(4.6 * (1 + len(targets)), 4.2), layout="constrained")
    for place, target in enumerate(["", *targets]):
        axes = figure.add_subplot(1, 1 + len(targets), place + 1)
        for name, result in zip(found.runs, found.results, strict=True):
            at, colour = _place(result, target)
            if at is None or result.judged is None:
                continue
            axes.plot(at, result.judged.pruned, "o", color=colour, markersize=7)
            axes.annotate(
                *(figure_text(Path(name).name), (at, result.judged.pruned)),
                xytext=(5, 5),
                textcoords="offset points",
                fontsize=8,
            )
        first = next((result.judged for result in found.results if result.judged), None)
        axes.set_xlabel(figure_text(f"times as fast on {target}") if target else "MACs, % of dense")
        axes.set_ylabel(figure_text(f"{first.name} {first.unit}".strip()) if first else "")
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(0.2)
    return figure


def _place(result: BenchResult, target: str) -> tuple[float | None, str]:
    """Where a run lies: its share of the MACs in percent, or its speedup on a target, with the colour of that."""
    if not target:
        dense, pruned = result.dense.macs, result.pruned.macs
        return (100 * pruned / dense if dense and pruned is not None else None), COLOURS["gain"]
    speedup = result.speedup.get(target)
    return (None, "") if speedup is None else (speedup.ratio, COLOURS[faster(speedup)])


def _notes(names: Sequence[str], results: Sequence[BenchResult]) -> list[str]:
    """In what runs differ that should be the same: their dense model, its metric, and the machine."""
    first, notes = results[0], []
    for name, result in zip(names[1:], results[1:], strict=True):
        if (result.dense.macs, result.dense.params) != (first.dense.macs, first.dense.params):
            notes.append(f"{name} is of another dense model than {names[0]}: the column dense is that of {names[0]}")
        elif result.judged and first.judged and result.judged.dense != first.judged.dense:
            notes.append(f"the dense model of {name} reaches another {result.judged.name} than that of {names[0]}")
        shared = [target for target in first.speedup if target in result.speedup]
        kinds = [[one.environment.kind(target) for target in shared] for one in (first, result)]
        if kinds[0] != kinds[1] or result.device != first.device:
            notes.append(f"{name} was measured on another machine than {names[0]}: compare ratios, not milliseconds")
    return notes
