"""`secateur prune RUN_DIR`, and with `--classes` for a model that will see these classes only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from secateur.pipeline.cli.common import PLACE, echo, trusting
from secateur.pipeline.cli.stages import stage_command

_HELP = """Cuts the planned units out of the model and proves removed equal to masked.

With --classes, a second run is made of these classes only, beside the first, which stays as it is: the classifier is
cut to them, units are scored and the result is judged by their images alone, and their names stay with the model.

Example: secateur prune runs/half --classes n01440764,n02102040,n03028079
"""


def _with_classes(stage: click.Command) -> click.Command:
    """The stage's command with the options `--classes` and `--out`."""
    plain = stage.callback

    def callback(run_dir: Path, settings: tuple[str, ...], classes: str | None, out: Path | None, **words: Any) -> None:
        if classes is not None:
            chosen = [word.strip() for word in classes.split(",") if word.strip()]
            run_dir, settings = _specialised(run_dir, settings, chosen, out), ()
        elif out is not None:
            raise click.UsageError("--out is for the run that --classes makes: give --classes too")
        assert plain is not None  # for the type checker: the command was made with a callback
        plain(run_dir=run_dir, settings=settings, **words)

    added = [
        click.Option(["--classes"], metavar="A,B,C", help="Make a run of these classes of the data."),
        click.Option(["--out"], type=PLACE, help="That run's directory. [default: RUN_DIR-<number>-classes]"),
    ]
    return click.Command(
        "prune", params=[*stage.params, *added], callback=callback, help=_HELP, short_help=stage.short_help
    )


def _specialised(run_dir: Path, settings: tuple[str, ...], classes: list[str], out: Path | None) -> Path:
    """The folder of a run with the recipe of another one, but for its classes; made where it is not there yet."""
    from secateur.pipeline.runs.recipe import changed
    from secateur.pipeline.runs.runner import open_run

    given = run_dir.resolve()
    folder = out or given.with_name(f"{given.name}-{len(classes)}-classes")
    recipe = changed(open_run(run_dir).recipe, (*settings, f"classes={json.dumps(classes)}"))
    open_run(folder, recipe)
    echo(f"the run of {len(classes)} classes is {folder}", err=True)
    return folder


command = trusting("run_dir")(
    _with_classes(stage_command("prune", "Cuts the planned units out of the model and proves removed equal to masked."))
)
