"""`secateur prune RUN_DIR`, and with `--classes` for a model that will see these classes only."""

from __future__ import annotations

import json
from typing import Any

import click

from secateur.pipeline.cli.stages import stage_command

_HELP = """Cuts the planned units out of the model and proves removed equal to masked.

With --classes, the run becomes one of these classes only: the classifier is cut to them, units are scored and the
result is judged by their images alone, and their names stay with the model.

Example: secateur prune runs/half --classes n01440764,n02102040,n03028079
"""


def _with_classes(stage: click.Command) -> click.Command:
    """The stage's command with the option `--classes`."""
    plain = stage.callback

    def callback(settings: tuple[str, ...], classes: str | None, **words: Any) -> None:
        if classes is not None:
            chosen = [word.strip() for word in classes.split(",") if word.strip()]
            settings = (*settings, f"classes={json.dumps(chosen)}")
        assert plain is not None  # for the type checker: the command was made with a callback
        plain(settings=settings, **words)

    option = click.Option(["--classes"], metavar="A,B,C", help="Specialise the run to these classes of its data.")
    return click.Command(
        "prune", params=[*stage.params, option], callback=callback, help=_HELP, short_help=stage.short_help
    )


command = _with_classes(
    stage_command("prune", "Cuts the planned units out of the model and proves removed equal to masked.")
)
