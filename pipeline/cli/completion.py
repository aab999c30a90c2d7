"""`secateur completion SHELL`."""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish")


@click.command("completion", short_help="A script that completes commands and options in a shell.")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Prints a script with which a shell completes secateur's commands and options by the tabulator key.

    Example: secateur completion bash > ~/.local/share/bash-completion/completions/secateur
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None  # for the type checker: click has all of them
    click.echo(kind(context.find_root().command, {}, "secateur", "_SECATEUR_COMPLETE").source())
