"""The options of commands that make a recipe from a few words."""

from __future__ import annotations

import click

from secateur.pipeline.cli.common import PLACE

budget_option = click.option(
    "--budget", metavar="MEASURE=AMOUNT", help="What the small model may cost, such as macs=0.5 or params=2.5M."
)
weights_option = click.option("--weights", type=PLACE, help="The weights of a model that is given by its name.")
ema_option = click.option(
    "--ema/--no-ema", default=None, help="Take a checkpoint's averaged weights, or those of the last step."
)
