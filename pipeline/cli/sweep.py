"""`secateur sweep RECIPE --budgets 0.8,0.6`."""

from __future__ import annotations

from pathlib import Path

import click

from secateur.pipeline.cli.common import (
    PLACE,
    Progress,
    json_option,
    print_json,
    settings_option,
)


@click.command("sweep", short_help="Accuracy against cost over several budgets; resumes where it stopped.")
@click.argument("recipe", type=PLACE)
@click.option("--budgets", default="0.8,0.6,0.4,0.25", show_default=True, help="Fractions of dense, apart by commas.")
@click.option("--out", type=PLACE, help="The folder of the runs. [default: runs/<recipe>-sweep]")
@click.option("--latency", is_flag=True, help="Export, build and measure the latency of each model, too.")
@settings_option
@json_option
def command(
    recipe: Path, budgets: str, out: Path | None, latency: bool, settings: tuple[str, ...], as_json: bool
) -> None:
    """Prunes and repairs a recipe's model to several budgets, scored once: writes sweep.json and a page, report.html.

    Example: secateur sweep recipes/deit-tiny.yaml --budgets 0.8,0.6,0.4,0.25
    """
    from dataclasses import asdict

    from secateur.core.errors import PlanError
    from secateur.pipeline.report.sweep_page import write_sweep_page
    from secateur.pipeline.runs.recipe import read_recipe
    from secateur.pipeline.runs.sweep import sweep

    try:
        fractions = [float(word) for word in budgets.split(",")]
    except ValueError:
        raise PlanError(f"--budgets got {budgets!r}, but needs numbers apart by commas, such as 0.8,0.6") from None
    folder = out or Path("runs") / f"{recipe.stem}-sweep"
    with Progress() as progress:
        points = sweep(read_recipe(recipe, settings), fractions, folder, progress, latency=latency)
    page = write_sweep_page(folder)
    if as_json:
        print_json([asdict(point) for point in points])
        return
    for point in points:
        reached = f"{point.top1:6.2f} %" if point.metric is None else str(point.metric)
        click.echo(f"{point.budget:6g}  {point.macs / 1e6:10.1f} MMACs  {point.params / 1e6:8.2f} M  {reached}")
    click.echo(f"report: {page}")
