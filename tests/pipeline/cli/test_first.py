"""The options of commands that make a recipe from a few words."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from secateur.pipeline.cli.first import budget_option, ema_option, weights_option


@click.command()
@budget_option
@weights_option
@ema_option
def command(budget: str | None, weights: object, ema: bool | None) -> None:
    click.echo(f"{budget} {weights} {ema}")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "None None None"),
        (["--ema", "--budget", "macs=0.5"], "macs=0.5 None True"),
        (["--no-ema", "--weights", "best.pth"], "None best.pth False"),
    ],
)
def test_what_is_not_said_is_left_open(words: list[str], said: str) -> None:
    assert CliRunner().invoke(command, words).stdout == said + "\n"
