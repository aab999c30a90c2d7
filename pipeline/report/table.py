"""The one table of a run: accuracy, cost, size and latency, dense beside pruned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from secateur.benchmarks.results_file import BenchResult, Compared, read_bench


@dataclass(frozen=True)
class Row:
    """One measured quantity as it is printed: the dense and the pruned value, the change, and whether it is a loss."""

    name: str
    dense: str
    pruned: str
    change: str
    worse: bool = False


def rows_of(bench: BenchResult) -> list[Row]:
    """The rows of a comparison, latency last with one row for each target; what is not known has none."""
    dense, pruned = bench.dense, bench.pruned
    rows = [_metric(found) for found in (bench.judged, *bench.other_metrics) if found is not None]
    counts = (
        ("MACs", dense.macs, pruned.macs),
        ("parameters", dense.params, pruned.params),
        ("size (bytes)", dense.size_bytes, pruned.size_bytes),
    )
    rows += [_share(name, before, after) for name, before, after in counts if before and after is not None]
    for target, speedup in bench.speedup.items():
        before, after = (f"{side.latency_ms[target].p50:.3f} ms" for side in (dense, pruned))
        words = _speed(speedup.ratio, speedup.low, speedup.high)
        rows.append(Row(f"latency {target} (p50)", before, after, words, speedup.ratio < 1))
    return rows


def table_of(run_dir: Path) -> list[Row]:
    """The rows of a run's table."""
    return rows_of(read_bench(run_dir))


def print_table(run_dir: Path) -> None:
    """Prints a run's table and the path of its report on stdout."""
    bench = read_bench(run_dir)
    table = Table(title=f"secateur: {run_dir}")
    table.add_column("")
    for column in ("dense", "pruned", "change"):
        table.add_column(column, justify="right")
    for row in rows_of(bench):
        table.add_row(row.name, row.dense, row.pruned, row.change)
    console = Console()
    console.print(table)
    for target, reason in bench.skipped.items():
        console.print(f"not measured: {target}: {reason}", highlight=False, markup=False)
    console.print(f"report: {run_dir / 'report.html'}", highlight=False, markup=False, soft_wrap=True)


def compact(number: float) -> str:
    """A count with four digits and a unit: 1.258 G, 5.72 M, 812."""
    for factor, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(number) >= factor:
            return f"{number / factor:.4g}{unit}"
    return f"{number:.4g}"


def _speed(ratio: float, low: float, high: float) -> str:
    """A speedup with its interval; below 1 it is a slowdown and said to be one."""
    if ratio >= 1:
        return f"{ratio:.2f}x faster [{low:.2f}, {high:.2f}]"
    return f"{1 / ratio:.2f}x slower [{1 / high:.2f}, {1 / low:.2f}]"


def _metric(found: Compared) -> Row:
    """A metric of the task: percent with points of change, or numbers in the unit of the labels."""
    change, worse = found.pruned - found.dense, found.loss > 0
    if found.unit == "%":
        return Row(found.name, f"{found.dense:.2f} %", f"{found.pruned:.2f} %", f"{change:+.2f} points", worse)
    return Row(found.name, f"{found.dense:.4g}", f"{found.pruned:.4g}", f"{change:+.4g}", worse)


def _share(name: str, dense: float, pruned: float) -> Row:
    return Row(name, compact(dense), compact(pruned), f"{pruned / dense:.1%} of dense", pruned > dense)
