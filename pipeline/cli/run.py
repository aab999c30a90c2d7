"""`secateur run WHAT`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from secateur.pipeline.cli.common import (
    NAMED,
    PLACE,
    Progress,
    echo,
    json_option,
    print_json,
    say_left_out,
    settings_option,
    trust_option,
)
from secateur.pipeline.cli.first import budget_option, ema_option, weights_option

if TYPE_CHECKING:
    from secateur.pipeline.runs.recipe import RecipeLike

RECIPES = (".yaml", ".yml")
LEAST_SHOWN = 0.5
"""Seconds from which on a dry run says what a stage takes at least."""


@click.command("run", short_help="All stages of a recipe, or of a model with images and a budget; resumes.")
@click.argument("what", metavar="RECIPE|MODEL", type=NAMED)
@click.option("--out", type=PLACE, help="The run directory. [default: runs/<name>]")
@click.option("--data", type=PLACE, help="Without a recipe: labelled images.")
@budget_option
@click.option(
    "--target", "targets", multiple=True, help="Without a recipe: where to build and measure; may be repeated."
)
@weights_option
@ema_option
@click.option("--update", is_flag=True, help="Let the run directory of another recipe follow this one.")
@click.option("--dry-run", "dry", is_flag=True, help="Say what would be done, and on how much; nothing is written.")
@settings_option
@trust_option
@json_option
def command(
    what: str,
    out: Path | None,
    data: Path | None,
    budget: str | None,
    targets: tuple[str, ...],
    weights: Path | None,
    ema: bool | None,
    update: bool,
    dry: bool,
    settings: tuple[str, ...],
    trust: bool,
    as_json: bool,
) -> None:
    """Takes a recipe through all stages into a run directory; finished stages are not repeated.

    A recipe is a file, or the name of one that comes with secateur. Without one, give a model (a timm name, a
    checkpoint, a folder of the Hugging Face hub or of sc.save, or package.module:function) with its images and a
    budget; the recipe that follows from these is in the run directory.

    Example: secateur run recipe.yaml --out runs/half --set budget.macs=0.5

    Example: secateur run resnet18 --weights best.pth --data images --budget macs=0.5
    """
    words = {"--data": data, "--budget": budget, "--target": targets, "--weights": weights, "--ema": ema is not None}
    given = [word for word, value in words.items() if value]
    if path := _recipe(what):
        if given:
            raise click.UsageError(f"{given[0]} is for a run without a recipe: change {what}, or give --set KEY=VALUE")
        (preview if dry else take)(path, out or Path("runs") / path.stem, settings, update, as_json, trust)
        return
    if data is None or budget is None:
        raise click.UsageError(
            f"{what} is no recipe: give a .yaml file, or --data and --budget too (--data images --budget macs=0.5)"
        )
    from secateur.pipeline.runs.first_recipe import first_recipe
    from secateur.pipeline.runs.model_word import spec_of_word

    spec = spec_of_word(what, str(weights) if weights else None, ema)
    folder = out or Path("runs") / f"{Path(spec.weights or spec.name).stem}-{budget.replace('=', '-')}"
    content = first_recipe(spec, str(data), budget, targets)
    (preview if dry else take)(content, folder, settings, update, as_json)


def _recipe(what: str) -> Path | None:
    """The recipe that a word names: a file, or one that comes with secateur."""
    path = Path(what)
    if path.suffix in RECIPES:
        return path
    from secateur.pipeline.runs.shipped import shipped_path

    return None if path.exists() else shipped_path(what)


def take(
    recipe: RecipeLike, folder: Path, settings: tuple[str, ...], update: bool, as_json: bool, trust: bool = False
) -> None:
    """Takes a recipe through all stages and shows what came out."""
    from dataclasses import asdict

    from secateur.pipeline.report.run import run
    from secateur.pipeline.report.table import print_table, table_of

    with Progress() as progress:
        run(recipe, folder, settings, update=update, trust=trust, report=progress)
    say_left_out(folder, "export", "build")  # the table has what was not measured
    if as_json:
        table = [asdict(row) for row in table_of(folder)]
        print_json({"run": str(folder), "report": str(folder / "report.html"), "table": table})
    else:
        print_table(folder)
        if not isinstance(recipe, Path):
            echo(f"recipe: {folder / 'recipe.yaml'}")


def preview(
    recipe: RecipeLike, folder: Path, settings: tuple[str, ...], update: bool, as_json: bool, trust: bool = False
) -> None:
    """Shows what `take` would do."""
    from dataclasses import asdict

    from secateur.pipeline.cli.progress import lasting
    from secateur.pipeline.report.dry_run import dry_run
    from secateur.pipeline.runs.trust import recipe_to_run

    found = dry_run(recipe_to_run(recipe, settings, trust), folder, update)
    if as_json:
        print_json({"run": str(folder), **asdict(found)})
        return
    for word, size in found.sizes.items():
        echo(f"{word}: {size}")
    for stage in found.stages:
        took = f"; took {stage.seconds:.1f} s last time" if stage.seconds is not None else ""
        if stage.least_seconds is not None and stage.least_seconds >= LEAST_SHOWN and not took:
            took = f"; at least {lasting(stage.least_seconds)}"
        todo = f"to do, {stage.reason}" if stage.reason else "up to date"
        echo(f"  {stage.name:8} {todo}{f': {stage.about}' if stage.about else ''}{took}")
    if any(stage.least_seconds is not None for stage in found.stages):
        echo(
            "at least: its images once through the dense model, as timed here; the rest is known once a run has done it"
        )
    echo(f"nothing was written: without --dry-run, the run goes to {folder}")
