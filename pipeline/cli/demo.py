"""`secateur demo`."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

import click

from secateur.pipeline.cli.common import Progress, json_option, print_json, settings_option


@click.command("demo", short_help="The embedded default, end to end, no network.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/demo"), show_default=True)
@click.option("--update", is_flag=True, help="Let the run directory follow changed settings.")
@settings_option
@json_option
def command(out: Path, update: bool, settings: tuple[str, ...], as_json: bool) -> None:
    """Prunes the embedded ViT for handwritten digits to half of its MACs, end to end.

    Example: secateur demo --out runs/demo --set budget.macs=0.4
    """
    from dataclasses import asdict

    from secateur.pipeline.report.stage import ALL_STAGES
    from secateur.pipeline.report.table import print_table, table_of
    from secateur.pipeline.runs.recipe import read_recipe
    from secateur.pipeline.runs.runner import open_run, run_stages

    with as_file(files("secateur.pipeline.demo")) as folder, Progress() as progress:
        run = open_run(out, read_recipe(Path(folder) / "demo.yaml", settings), update)
        run_stages(run, report=progress, stages=ALL_STAGES)
    if as_json:
        table = [asdict(row) for row in table_of(out)]
        print_json({"run": str(out), "report": str(out / "report.html"), "table": table})
    else:
        print_table(out)
