"""`secateur explain KEY`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from secateur.pipeline.cli.common import EMPTY, echo, json_option, print_json

if TYPE_CHECKING:
    from secateur.pipeline.runs.keys import Key


@click.command("explain", short_help="What a key of a recipe does; without one, a table of all keys.")
@click.argument("key", required=False)
@json_option
def command(key: str | None, as_json: bool) -> None:
    """Says what a key of a recipe does, what it takes and what it is by default; of a section, all its keys.

    Example: secateur explain budget.macs
    """
    from dataclasses import asdict

    from secateur.pipeline.runs.keys import describe_keys, find_keys

    if key == "":
        raise click.UsageError(EMPTY.format(what="a key, or no word for all keys"))
    found = describe_keys() if key is None else find_keys(key)
    if as_json:
        print_json([asdict(one) for one in found])
    elif len(found) == 1 and found[0].name == key:
        _say(found[0])
    else:
        _print(found)


def _say(key: Key) -> None:
    """One key in full."""
    for line in (f"{_named(key)}: {key.summary}", f"takes: {key.takes}", f"default: {key.default}"):
        echo(line)


def _print(keys: tuple[Key, ...]) -> None:
    """Several keys as a table."""
    from rich.table import Table

    from secateur.pipeline.report.console import InertConsole
    from secateur.pipeline.runs.keys import REQUIRED

    table = Table("key", "what it does", box=None, padding=(0, 1))
    table.columns[0].overflow = "fold"
    for key in keys:
        ends = key.default if key.default == REQUIRED else f"default: {key.default}"
        table.add_row(_named(key), f"{key.summary} [{ends}]")
    InertConsole().print(table)


def _named(key: Key) -> str:
    """A key with the score method that alone has it."""
    return f"{key.name} ({key.method})" if key.method else key.name
