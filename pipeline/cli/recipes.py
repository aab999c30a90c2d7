"""`secateur recipes`."""

from __future__ import annotations

import click

from secateur.pipeline.cli.common import (
    echo,
    json_option,
    print_json,
)


@click.command("recipes", short_help="The recipes that come with secateur; with a name, that one.")
@click.argument("name", default="")
@json_option
def command(name: str, as_json: bool) -> None:
    """Lists the recipes that come with secateur, or prints one of them, to be changed in a file of your own.

    Example: secateur recipes deit-tiny > half.yaml
    """
    from dataclasses import asdict

    from secateur.pipeline.runs.shipped import shipped_recipe, shipped_recipes

    if name:
        found = shipped_recipe(name)
        click.echo(found.text, nl=False) if not as_json else print_json(asdict(found))
        return
    every = shipped_recipes()
    if as_json:
        print_json([asdict(one) for one in every])
        return
    width = max(len(one.name) for one in every)
    for one in every:
        echo(f"{one.name:{width}}  {one.summary}")
