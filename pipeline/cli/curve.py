"""`secateur curve RUN_DIR`."""

from __future__ import annotations

from pathlib import Path

import click

from secateur.pipeline.cli.common import (
    PLACE,
    Progress,
    echo,
    json_option,
    print_json,
    trusting,
)


@trusting("run_dir")
@click.command("curve", short_help="Accuracy against pruning rate and MACs, by method.")
@click.argument("run_dir", type=PLACE)
@click.option(
    "--methods",
    default="random magnitude activation taylor lrp",
    show_default=True,
    help="Methods apart by spaces; options behind a colon, such as lrp:composite=gamma,aggregate=signed.",
)
@click.option("--kinds", help="Kinds of units that are removed, apart by commas. [default: the recipe's]")
@click.option("--allocate", default="global", show_default=True, help="How the rate is shared out.")
@click.option("--rates", help="Pruning rates apart by commas. [default: 0, 0.05, ..., 0.95]")
@click.option(
    "--seeds",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Draws of the calibration images for every method.",
)
@click.option("--random-seeds", default=20, show_default=True, type=click.IntRange(1), help="Draws of random scores.")
@click.option(
    "--images-per-class", default=0, show_default=True, type=click.IntRange(0), help="Evaluation images used (0: all)."
)
@click.option("--verify/--no-verify", default=True, show_default=True, help="Measure masking beside removal.")
@click.option("--out", type=PLACE, help="The folder of the results. [default: RUN_DIR/curves]")
@json_option
def command(
    run_dir: Path,
    methods: str,
    kinds: str | None,
    allocate: str,
    rates: str | None,
    seeds: int,
    random_seeds: int,
    images_per_class: int,
    verify: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Measures accuracy while units are removed, the least important first, without repair.

    Goes on where it stopped. Real removal and masking must give the same numbers.

    Example: secateur curve runs/half --methods "random taylor lrp:composite=gamma" --random-seeds 3
    """
    from dataclasses import asdict

    from secateur.core.errors import PlanError
    from secateur.pipeline.analysis.pruning_curve import RATES, Shape
    from secateur.pipeline.runs.curves import parse_line, trace_curves
    from secateur.pipeline.runs.run_folder import RUN, check_free
    from secateur.pipeline.runs.runner import open_run

    run = open_run(run_dir)
    if out is None:
        check_free(run_dir, RUN)
    try:
        steps = tuple(float(rate) for rate in rates.split(",")) if rates else RATES
    except ValueError:
        raise PlanError(f"--rates got {rates!r}, but needs numbers apart by commas, such as 0,0.25,0.5") from None
    shape = Shape(tuple(kinds.split(",")) if kinds else tuple(run.recipe.plan.kinds), allocate, steps)
    lines = [parse_line(word) for word in methods.split()]
    folder = out or run_dir / "curves"
    with Progress() as progress:
        content = trace_curves(
            *(run, lines, folder, shape, seeds, random_seeds, images_per_class, verify),
            report=lambda message: progress("curve", message),
        )
    if as_json:
        print_json(asdict(content))
    else:
        echo(folder / "curve.png")
