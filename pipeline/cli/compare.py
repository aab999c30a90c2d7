"""`secateur compare RUN RUN ...`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from secateur.pipeline.cli.common import PLACE, Place, echo, json_option, print_json

if TYPE_CHECKING:
    from secateur.pipeline.report.comparison import Comparison


@click.command("compare", short_help="Runs side by side: accuracy, cost and latency, as a table and a picture.")
@click.argument("runs", metavar="RUN RUN...", nargs=-1, required=True, type=PLACE)
@click.option("--picture", type=Place(dir_okay=False), help="Draw them as this PNG, too.")
@json_option
def command(runs: tuple[Path, ...], picture: Path | None, as_json: bool) -> None:
    """Shows what the bench.json of several runs say, side by side; nothing is measured.

    Example: secateur compare runs/half runs/third --picture compare.png
    """
    from dataclasses import asdict

    from secateur.core.errors import BenchError
    from secateur.core.figures import save_figure
    from secateur.pipeline.report.comparison import compare_runs, comparison_figure

    if picture is not None and picture.suffix != ".png":
        raise BenchError(f"--picture got {picture}, but draws a .png file")
    found = compare_runs(runs)
    if picture is not None:
        save_figure(comparison_figure(found), picture)
    if as_json:
        quantities = [asdict(one) for one in found.quantities]
        print_json({"runs": found.runs, "quantities": quantities, "notes": found.notes})
        return
    _print(found)
    if picture is not None:
        echo(f"picture: {picture}")


def _print(found: Comparison) -> None:
    """A row for each quantity, a column for each run."""
    from rich.table import Table
    from rich.text import Text

    from secateur.export.runner.text import shown
    from secateur.pipeline.report.console import InertConsole

    table = Table("", "dense", *found.runs)
    for column in table.columns:
        column.overflow = "fold"
    for one in found.quantities:
        cells = [(row.pruned, row.change) if row else ("not measured",) for row in one.runs]
        lines = [Text("\n".join(shown(word, lines=False) for word in cell)) for cell in cells]
        table.add_row(one.name, one.dense, *lines, end_section=True)
    InertConsole().print(table)
    for note in found.notes:
        echo(f"note: {note}")
