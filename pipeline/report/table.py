"""The one table of a run: accuracy, cost, size and latency, dense beside pruned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from secateur.benchmarks.bootstrap import Interval
from secateur.benchmarks.gating.shares import share_interval
from secateur.benchmarks.keys import TOP1
from secateur.benchmarks.results_file import BenchResult, Compared, read_bench
from secateur.pipeline.report.certainty import Judged, change_of, judged
from secateur.pipeline.report.console import InertConsole


@dataclass(frozen=True)
class Row:
    """One measured quantity as it is printed: the dense and the pruned value, the change, and what that shows."""

    name: str
    dense: str
    pruned: str
    change: str
    judged: Judged = "unclear"


def rows_of(bench: BenchResult) -> list[Row]:
    """The rows of a comparison, latency last with one row for each target; what is not known has none."""
    dense, pruned, images = bench.dense, bench.pruned, bench.evaluation_images
    rows = [_metric(found, images) for found in (bench.judged, *bench.other_metrics) if found is not None]
    rows += [_metric(found, images, f" of {target}") for target, found in bench.accuracy.items()]
    counts = (
        ("MACs", dense.macs, pruned.macs),
        ("parameters", dense.params, pruned.params),
        *((f"size{goal and f' of {goal}'} (bytes)", *both) for goal, both in bench.sizes.items()),
    )
    rows += [_share(name, before, after) for name, before, after in counts if before and after is not None]
    for target, speedup in bench.speedup.items():
        before, after = (f"{side.latency_ms[target].p50:.3f} ms" for side in (dense, pruned))
        rows.append(Row(f"latency {target} (p50)", before, after, speed(speedup), faster(speedup)))
    return rows


def table_of(run_dir: Path) -> list[Row]:
    """The rows of a run's table."""
    return rows_of(read_bench(run_dir))


def print_table(run_dir: Path) -> None:
    """Prints a run's table and the path of its report on stdout."""
    bench = read_bench(run_dir)
    table = Table(title=f"secateur: {run_dir}")
    table.add_column("", no_wrap=True)
    for column in ("dense", "pruned", "change"):
        table.add_column(column, justify="right")
    for row in rows_of(bench):
        table.add_row(row.name, row.dense, row.pruned, row.change)
    console = InertConsole()
    console.print(table)
    for target, reason in bench.skipped.items():
        console.print(f"not measured: {target}: {reason}")
    console.print(f"report: {run_dir / 'report.html'}", soft_wrap=True)


def compact(number: float) -> str:
    """A count with four digits and a unit: 1.258 G, 5.72 M, 812."""
    for factor, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(number) >= factor:
            return f"{number / factor:.4g}{unit}"
    return f"{number:.4g}"


def faster(found: Interval) -> Judged:
    """Whether the interval of a speedup shows that the pruned side is faster, or slower."""
    return judged(found.low, found.high, 1)


def speed(found: Interval) -> str:
    """A speedup with its interval; one that is shown to be below 1 is a slowdown, and one around 1 is neither."""
    if (shown := faster(found)) == "loss":
        return f"{1 / found.ratio:.2f}x slower [{1 / found.high:.2f}, {1 / found.low:.2f}]"
    words = "faster" if shown == "gain" else "as fast"
    return f"{found.ratio:.2f}x {words} [{found.low:.2f}, {found.high:.2f}]"


def metric_value(found: Compared, value: float, images: int | None) -> str:
    """One side of a metric as it is printed, with the 95 % interval of a share of images."""
    if found.unit != "%":
        return f"{value:.4g}"
    if found.name != TOP1 or not images:
        return f"{value:.2f} %"
    low, high = share_interval(value, images)
    return f"{value:.2f} % [{low:.1f}, {high:.1f}]"


def metric_change(found: Compared, images: int | None) -> str:
    """The change of a metric as it is printed: points of percent, or a number in the unit of the labels."""
    change, difference = change_of(found, images), found.pruned - found.dense
    if found.unit != "%":
        return f"{difference:+.4g}"
    if change.low is None or change.high is None:
        return f"{difference:+.2f} points"
    return f"{difference:+.2f} points [{change.low:+.2f}, {change.high:+.2f}]"


def _metric(found: Compared, images: int | None, of: str = "") -> Row:
    dense, pruned = (metric_value(found, value, images) for value in (found.dense, found.pruned))
    return Row(f"{found.name}{of}", dense, pruned, metric_change(found, images), change_of(found, images).judged)


def _share(name: str, dense: float, pruned: float) -> Row:
    shown: Judged = "gain" if pruned < dense else "loss" if pruned > dense else "unclear"
    return Row(name, compact(dense), compact(pruned), f"{pruned / dense:.1%} of dense", shown)
