"""`secateur sweep RECIPE --budgets 0.8,0.6`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from secateur.pipeline.cli.common import (
    PLACE,
    Progress,
    echo,
    json_option,
    print_json,
    settings_option,
    trust_option,
)

if TYPE_CHECKING:
    from secateur.benchmarks.bootstrap import Interval


@click.command("sweep", short_help="Accuracy against cost over several budgets; resumes where it stopped.")
@click.argument("recipe", type=PLACE)
@click.option("--budgets", default="0.8,0.6,0.4,0.25", show_default=True, help="Fractions of dense, apart by commas.")
@click.option("--out", type=PLACE, help="The folder of the runs. [default: runs/<recipe>-sweep]")
@click.option("--latency", is_flag=True, help="Export, build and measure the latency of each model, too.")
@settings_option
@trust_option
@json_option
def command(
    recipe: Path,
    budgets: str,
    out: Path | None,
    latency: bool,
    settings: tuple[str, ...],
    trust: bool,
    as_json: bool,
) -> None:
    """Prunes and repairs a recipe's model to several budgets, scored once: writes sweep.json and a page, report.html.

    Example: secateur sweep recipes/deit-tiny.yaml --budgets 0.8,0.6,0.4,0.25
    """
    from dataclasses import asdict

    from secateur.core.errors import PlanError
    from secateur.pipeline.report.sweep_page import write_sweep_page
    from secateur.pipeline.runs.sweep import SweepFile, sweep
    from secateur.pipeline.runs.trust import recipe_to_run

    try:
        fractions = [float(word) for word in budgets.split(",")]
    except ValueError:
        raise PlanError(f"--budgets got {budgets!r}, but needs numbers apart by commas, such as 0.8,0.6") from None
    folder = out or Path("runs") / f"{recipe.stem}-sweep"
    with Progress() as progress:
        points = sweep(recipe_to_run(recipe, settings, trust), fractions, folder, progress, latency=latency)
    page = write_sweep_page(folder)
    if as_json:
        print_json([asdict(point) for point in points])
        return
    if dense := SweepFile.load(folder / SweepFile.NAME).dense:
        _say("dense", dense.macs, dense.params, str(dense.metric), {})
    for point in points:
        reached = f"{point.top1:.2f} %" if point.metric is None else str(point.metric)
        _say(f"{point.budget:g}", point.macs, point.params, reached, point.speedup)
    echo(f"report: {page}")


def _say(name: str, macs: float, params: float, reached: str, speedup: Mapping[str, Interval]) -> None:
    """One model of the front: what it costs, what it reaches, and how much faster it is where that was measured."""
    from secateur.pipeline.report.table import speed

    speeds = "".join(f"  {target}: {speed(found)}" for target, found in speedup.items())
    echo(f"{name:>6}  {macs / 1e6:10.1f} MMACs  {params / 1e6:8.2f} M  {reached}{speeds}")
