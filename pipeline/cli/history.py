"""`secateur history add RUN --to DIR`, `secateur history DIR` and `secateur history export DIR`."""

from __future__ import annotations

import platform
import re
import sys
from dataclasses import asdict
from pathlib import Path

import click

from secateur.pipeline.cli.common import (
    PLACE,
    Place,
    echo,
    json_option,
    print_json,
)

PATHS = click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=PLACE)
FORMATS = ("asv", "github-action-benchmark")


class WithShow(click.Group):
    """A group of commands whose first word, where it is none of them, is the first PATH of `show`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command of these words, and what is left of them."""
        return super().resolve_command(ctx, args if args[0] in self.commands else ["show", *args])


@click.group(
    "history",
    cls=WithShow,
    context_settings={"ignore_unknown_options": True},  # they are those of `show`
    short_help="Results over commits: add one, show the trend, export.",
)
def command() -> None:
    """Keeps one result for each commit and machine, and shows how speed, size and accuracy went.

    Ratios are compared between machines of one kind, milliseconds within one machine. Change points are found by the
    library ruptures (`pip install 'secateur[history]'`), three commits after the change at the soonest.

    Example: secateur history benchmarks/history
    """


@command.command("add", short_help="Add the result of a commit.")
@click.argument("result", metavar="RUN", type=PLACE)
@click.option("--to", "folder", required=True, type=PLACE, help="The folder of the history.")
@click.option("--commit", help="The commit that was measured. [default: the one checked out here, without changes]")
@click.option("--machine", help="A name for the machine. [default: the device's, or this machine's own]")
@click.option("--name", help="A name for what was measured. [default: that of the run's folder]")
def add(result: Path, folder: Path, commit: str | None, machine: str | None, name: str | None) -> None:
    """Adds what `secateur bench` wrote for RUN, a run directory or a bench.json, as the result of a commit.

    The same result may be added again; another one of the same commit, name and machine is refused.

    Example: secateur history add runs/half --to benchmarks/history --machine ci
    """
    from secateur.benchmarks.history.commits import commit_here, time_of
    from secateur.benchmarks.history.entry import entry_of
    from secateur.benchmarks.history.store import add_entry
    from secateur.pipeline.runs.gate_run import read_measurement

    found = read_measurement(result)
    commit = commit or commit_here(Path.cwd())
    place = result.resolve()
    name = name or _word(place.name if result.is_dir() else place.stem if place.stem != "bench" else place.parent.name)
    machine = machine or found.device or _word(platform.node())
    path, new = add_entry(entry_of(found, name, machine, commit, time_of(commit, Path.cwd())), folder)
    echo(f"{'added' if new else 'already there'}: {path}")


@command.command("show", short_help="The trend, with change points.")
@PATHS
@click.option("--measure", "measures", multiple=True, help="Such as speedup or 'pruned p50'; may be repeated.")
@click.option("--out", type=Place(dir_okay=False), help="Draw the lines as this .svg or .html.")
@json_option
def show(paths: tuple[Path, ...], measures: tuple[str, ...], out: Path | None, as_json: bool) -> None:
    """Shows each measure over the commits in folders or files of a history, and where its level changed.

    Example: secateur history show benchmarks/history --measure speedup --out trend.html
    """
    from secateur.benchmarks.history.change_points import changes
    from secateur.benchmarks.history.chart import row, sparkline, write_chart
    from secateur.benchmarks.history.lines import lines_of
    from secateur.benchmarks.history.store import read_history
    from secateur.core.errors import BenchError

    entries = read_history(paths)
    lines = lines_of(entries, measures)
    if not lines:
        there = ", ".join(sorted({value.measure for entry in entries for value in entry.values}))
        raise BenchError(f"the history has no {' or '.join(measures)}: it has {there}")
    found = {place: changes(line) for place, line in enumerate(lines)}
    if out is not None:
        write_chart(out, lines, found)
    if as_json:
        rows = [{**asdict(line), "changes": [asdict(one) for one in found[place]]} for place, line in enumerate(lines)]
        print_json({"schema": "secateur.trends/1", "lines": rows})
        return
    from rich.table import Table

    from secateur.pipeline.report.console import InertConsole

    table = Table("line", "values", "first", "last", "trend", "change points")
    for place, line in enumerate(lines):
        count, first, last, changed = row(line, found[place])
        trend = sparkline([value.value for value in line.values])
        table.add_row(line.title, count, first, last, trend, changed)
    InertConsole(width=None if sys.stdout.isatty() else 160).print(table)


@command.command("export", short_help="The history for asv or github-action-benchmark.")
@PATHS
@click.option("--as", "form", required=True, type=click.Choice(FORMATS), help="The format.")
@click.option("--out", required=True, type=PLACE, help="asv's folder of results, or a JSON file.")
def export(paths: tuple[Path, ...], form: str, out: Path) -> None:
    """Writes a history for another tool: all of it for asv, the newest commit for github-action-benchmark.

    Smaller is better in both: a speedup goes out as the pruned side's time over the dense one's.

    Example: secateur history export benchmarks/history --as github-action-benchmark --out output.json
    """
    from secateur.benchmarks.history.exports import left_out, write_asv, write_github
    from secateur.benchmarks.history.store import read_history

    entries = read_history(paths)
    if form == "asv":
        write_asv(entries, out)
    else:
        write_github(entries, out)
    for measure in left_out(entries):
        echo(f"left out: {measure}, of which larger is better and which has no unit to turn round", err=True)
    echo(f"written: {out}")


def _word(text: str) -> str:
    """A name of a folder or a machine as a word of a history."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-._")
