"""`secateur report RUN_DIR`, and with `--all` all that the report is about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from secateur.pipeline.cli.common import trusting
from secateur.pipeline.cli.stages import stage_command

SUMMARY = "Writes the run's report, as one HTML page and as Markdown."
_HELP = f"""{SUMMARY}

The stages before it must be up to date; with --all, those that are not are done first.

Example: secateur report runs/half --all --set recover.distill.epochs=10
"""


def _with_all(stage: click.Command) -> click.Command:
    """The stage's command, which does earlier stages only when it is asked to."""
    plain = stage.callback

    def callback(run_dir: Path, settings: tuple[str, ...], every: bool, **words: Any) -> None:
        if not every:
            _check_current(run_dir, settings)
        assert plain is not None  # for the type checker: the command was made with a callback
        plain(run_dir=run_dir, settings=settings, **words)

    option = click.Option(["--all", "every"], is_flag=True, help="Do earlier stages that are not up to date, too.")
    return click.Command(
        "report", params=[*stage.params, option], callback=callback, help=_HELP, short_help=stage.short_help
    )


def _check_current(folder: Path, settings: tuple[str, ...]) -> None:
    """Raises `RunError` where a stage before the report would be done again."""
    from dataclasses import replace

    from secateur.core.errors import RunError
    from secateur.pipeline.runs.recipe import changed
    from secateur.pipeline.runs.runner import open_run, overdue

    run = open_run(folder)
    if reasons := overdue(replace(run, recipe=changed(run.recipe, settings)), "bench"):
        more = f", and {len(reasons) - 1} more" if len(reasons) > 1 else ""
        raise RunError(
            f"{folder} is not up to date ({reasons[0]}{more}): give --all to do what is missing before the report"
        )


command = trusting("run_dir")(_with_all(stage_command("report", SUMMARY)))
