"""What the commands share: options, progress on stderr, and results on stdout."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from secateur.export.runner.machine import MOST_SECONDS, MOST_THREADS
from secateur.export.runner.text import shown
from secateur.pipeline.cli.progress import Progress as Progress

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
keep_option = click.option(
    "--keep", is_flag=True, help="Leave the work's folder on the device, in ~/.cache/secateur/kept."
)


EMPTY = "an empty word names nothing (a variable of a script that is not set?): give {what}"


class Place(click.Path):
    """A file or a folder; an empty word, which Python takes for the present folder, is refused."""

    def __init__(self, dir_okay: bool = True, file_okay: bool = True) -> None:
        super().__init__(path_type=Path, dir_okay=dir_okay, file_okay=file_okay)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail(EMPTY.format(what="a path, or . for this folder"), param, ctx)
        return super().convert(value, param, ctx)


class Named(click.types.StringParamType):
    """A model by its name or its path, any word but an empty one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value == "":
            self.fail(EMPTY.format(what="the name of a timm model, or a path"), param, ctx)
        return super().convert(value, param, ctx)


PLACE = Place()
"""Files and folders on the command line."""
NAMED = Named()
"""Models on the command line."""


class Seconds(click.FloatRange):
    """A number above 0 and at most `MOST_SECONDS`; what is no number is refused too."""

    def __init__(self) -> None:
        super().__init__(0, MOST_SECONDS, min_open=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = super().convert(value, param, ctx)
        if found != found:  # no number is in the range, though none is outside
            self.fail(f"{value} is not in the range {self._describe_range()}.", param, ctx)
        return found


SECONDS = Seconds()
"""Durations on the command line."""
THREADS = click.IntRange(1, MOST_THREADS)
"""Numbers of threads on the command line."""
TRUST = "Import the code that a run's recipe names (model, task, loss), which runs it; from now on, too."
trust_option = click.option("--trust", is_flag=True, help=TRUST)
json_option = click.option("--json", "as_json", is_flag=True, help="Print machine-readable JSON on stdout.")


def trusting(*names: str) -> Callable[[click.Command], click.Command]:
    """Gives a command the option `--trust`, for the run directories among its arguments of these names."""

    def with_trust(command: click.Command) -> click.Command:
        unasked = command.callback

        def callback(trust: bool, **words: Any) -> Any:
            if trust:
                from secateur.pipeline.runs.runner import trust_runs

                trust_runs(*(path for name in names for path in _all_of(words[name])))
            assert unasked is not None  # for the type checker: the command was made with a callback
            return unasked(**words)

        command.callback = callback
        command.params.append(click.Option(["--trust"], is_flag=True, help=TRUST))
        return command

    return with_trust


def _all_of(value: Any) -> tuple[Any, ...]:
    """The paths that an argument was given."""
    return value if isinstance(value, tuple) else (value,)


def find_remotes(names: tuple[str, ...], keep: bool) -> list[Remote]:
    """The devices of `--device`, each once; raises `DeviceError` for a name that is not known."""
    from secateur.export.devices.device import Remote
    from secateur.export.devices.registry import find_device

    if keep and not names:
        raise click.UsageError("--keep is for work on a device: name one with --device")
    return [Remote(find_device(name), keep) for name in dict.fromkeys(names)]


def echo(text: object, err: bool = False) -> None:
    """Prints one line on stdout or stderr, with escapes for what a terminal would take as a command or as another."""
    click.echo(shown(str(text), lines=False), err=err)


def print_json(content: Any) -> None:
    """Prints `content` as JSON on stdout."""
    click.echo(json.dumps(content, indent=1))


def say_left_out(run_dir: Path, *stages: str) -> None:
    """Says on stderr what these finished stages of a run left out, and why."""
    from secateur.pipeline.runs.left_out import left_out

    for stage in stages:
        for sentence in left_out(run_dir, stage):
            echo(sentence, err=True)
