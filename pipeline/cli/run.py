"""`secateur run RECIPE`."""

from __future__ import annotations

from pathlib import Path

import click

from secateur.pipeline.cli.common import Progress, json_option, print_json, settings_option


@click.command("run", short_help="All stages of a recipe; resumes where it stopped.")
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="The run directory. [default: runs/<recipe's name>]")
@click.option("--update", is_flag=True, help="Let the run directory of another recipe follow this one.")
@settings_option
@json_option
def command(recipe: Path, out: Path | None, update: bool, settings: tuple[str, ...], as_json: bool) -> None:
    """Takes a recipe through all stages into a run directory; finished stages are not repeated.

    Example: secateur run recipes/deit-tiny.yaml --out runs/half --set budget.macs=0.5
    """
    from dataclasses import asdict

    from secateur.pipeline.report.stage import ALL_STAGES
    from secateur.pipeline.report.table import print_table, table_of
    from secateur.pipeline.runs.recipe import read_recipe
    from secateur.pipeline.runs.runner import open_run, run_stages

    folder = out or Path("runs") / recipe.stem
    run = open_run(folder, read_recipe(recipe, settings), update)
    with Progress() as progress:
        run_stages(run, report=progress, stages=ALL_STAGES)
    if as_json:
        table = [asdict(row) for row in table_of(folder)]
        print_json({"run": str(folder), "report": str(folder / "report.html"), "table": table})
    else:
        print_table(folder)
