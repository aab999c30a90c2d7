"""What the commands share: options, progress on stderr, and results on stdout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.status import Status

if TYPE_CHECKING:
    from secateur.export.devices.device import Remote

settings_option = click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change one key of the recipe, e.g. budget.macs=0.4."
)
force_option = click.option("--force", is_flag=True, help="Do the stage again even where it is up to date.")
device_option = click.option(
    "--device",
    "devices",
    multiple=True,
    metavar="NAME",
    help="On this device over ssh, see `secateur device`; may be repeated.",
)
keep_option = click.option("--keep", is_flag=True, help="Leave the work's folder on the device.")
SECONDS = click.FloatRange(0, min_open=True)
"""Durations on the command line."""
json_option = click.option("--json", "as_json", is_flag=True, help="Print machine-readable JSON on stdout.")


def find_remotes(names: tuple[str, ...], keep: bool) -> list[Remote]:
    """The devices of `--device`, each once; raises `DeviceError` for a name that is not known."""
    from secateur.export.devices.device import Remote
    from secateur.export.devices.registry import find_device

    if keep and not names:
        raise click.UsageError("--keep is for work on a device: name one with --device")
    return [Remote(find_device(name), keep) for name in dict.fromkeys(names)]


class Progress:
    """Progress lines on stderr while stages work; silent when stderr is not a terminal."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._status: Status | None = None

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._status = self._console.status("starting")
            self._status.start()
        return self

    def __exit__(self, *details: object) -> None:
        if self._status is not None:
            self._status.stop()

    def __call__(self, stage: str, message: str) -> None:
        """Shows what a stage is doing; a finished stage leaves a line behind."""
        if self._status is None:
            return
        if message.startswith("done") or message == "up to date":
            self._console.print(f"[green]✓[/] {stage:8} {message}", highlight=False)
        else:
            self._status.update(f"{stage}: {message}" if message else stage)


def print_json(content: Any) -> None:
    """Prints `content` as JSON on stdout."""
    click.echo(json.dumps(content, indent=1))


def say_left_out(run_dir: Path, *stages: str) -> None:
    """Says on stderr what these finished stages of a run left out, and why."""
    from secateur.pipeline.runs.left_out import left_out

    for stage in stages:
        for sentence in left_out(run_dir, stage):
            click.echo(sentence, err=True)
