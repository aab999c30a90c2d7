"""What the commands share: progress on stderr, and the stage commands' one shape."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.status import Status

settings_option = click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change one key of the recipe, e.g. budget.macs=0.4."
)
SECONDS = click.FloatRange(0, min_open=True)
"""Durations on the command line."""
json_option = click.option("--json", "as_json", is_flag=True, help="Print machine-readable JSON on stdout.")


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


def by_all_processes(command: click.Command) -> click.Command:
    """The command, when a launcher starts it in many processes: the first one runs it, the others take part."""
    alone = command.callback

    def together(**words: Any) -> None:
        from secateur.pipeline.report.stage import ALL_STAGES
        from secateur.pipeline.runs.distributed import check_launch, is_first, lead, take_part

        check_launch()
        if is_first():
            assert alone is not None  # for the type checker: the command was made with a callback
            lead(partial(alone, **words))
        else:
            take_part(Path(words["run_dir"]), ALL_STAGES)

    command.callback = together
    return command


def stage_command(stage: str, summary: str) -> click.Command:
    """The command that brings a run directory up to date through one stage."""

    @click.command(stage, help=f"{summary}\n\nExample: secateur {stage} runs/half", short_help=summary)
    @click.argument("run_dir", type=click.Path(path_type=Path))
    @settings_option
    @json_option
    def command(run_dir: Path, settings: tuple[str, ...], as_json: bool) -> None:
        from dataclasses import asdict

        from secateur.pipeline.report.stage import ALL_STAGES
        from secateur.pipeline.runs.recipe import changed
        from secateur.pipeline.runs.runner import open_run, run_stages

        run = open_run(run_dir)
        if settings:
            run = open_run(run_dir, changed(run.recipe, settings), update=True)
        with Progress() as progress:
            entries = run_stages(run, stage, progress, ALL_STAGES)
        if as_json:
            print_json(asdict(entries[stage]))
        else:
            for name in entries[stage].outputs:
                click.echo(run_dir / name)

    return command
