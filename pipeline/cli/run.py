"""`secateur run RECIPE`."""

from __future__ import annotations

from pathlib import Path

import click

from secateur.pipeline.cli.common import (
    PLACE,
    Progress,
    json_option,
    print_json,
    say_left_out,
    settings_option,
)


@click.command("run", short_help="All stages of a recipe; resumes where it stopped.")
@click.argument("recipe", type=PLACE)
@click.option("--out", type=PLACE, help="The run directory. [default: runs/<recipe's name>]")
@click.option("--update", is_flag=True, help="Let the run directory of another recipe follow this one.")
@settings_option
@json_option
def command(recipe: Path, out: Path | None, update: bool, settings: tuple[str, ...], as_json: bool) -> None:
    """Takes a recipe through all stages into a run directory; finished stages are not repeated.

    Example: secateur run recipes/deit-tiny.yaml --out runs/half --set budget.macs=0.5
    """
    take(recipe, out or Path("runs") / recipe.stem, settings, update, as_json)


def take(recipe: Path, folder: Path, settings: tuple[str, ...], update: bool, as_json: bool) -> None:
    """Takes a recipe through all stages and shows what came out."""
    from dataclasses import asdict

    from secateur.pipeline.report.run import run
    from secateur.pipeline.report.table import print_table, table_of

    with Progress() as progress:
        run(recipe, folder, settings, update=update, report=progress)
    say_left_out(folder, "export", "build")  # the table has what was not measured
    if as_json:
        table = [asdict(row) for row in table_of(folder)]
        print_json({"run": str(folder), "report": str(folder / "report.html"), "table": table})
    else:
        print_table(folder)
