"""`secateur score RUN_DIR`, and with `--search` the search for the relevance rules that prune best."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from secateur.pipeline.cli.common import (
    Progress,
    echo,
    print_json,
    trusting,
)
from secateur.pipeline.cli.stages import by_all_processes, stage_command

_HELP = """Scores every unit of a run's model by the recipe's method.

With --search, searches the relevance rules first: Optuna varies the composite (rules by depth, softmax rule,
aggregate) for the best mean accuracy over pruning rates on a held-out part of the calibration images, and leaves it
in RUN_DIR/search/composite.yaml. Workers that name one --storage share one study; a stopped search goes on.

Example: secateur score runs/half --search 50, then secateur score runs/half --set score.method=lrp --set
score.options.composite=runs/half/search/composite.yaml
"""


def _search(run_dir: Path, search: int, settings: dict[str, Any], as_json: bool) -> None:
    from dataclasses import asdict

    from secateur.core.errors import PlanError
    from secateur.pipeline.analysis.pruning_curve import RATES
    from secateur.pipeline.runs.runner import open_run
    from secateur.pipeline.runs.search_run import composite_path, search_run

    kinds, rates = settings.pop("kinds"), settings.pop("rates")
    try:
        steps = tuple(float(rate) for rate in rates.split(",")) if rates else RATES
    except ValueError:
        raise PlanError(f"--rates got {rates!r}, but needs numbers apart by commas, such as 0,0.25,0.5") from None
    with Progress() as progress:
        found = search_run(
            *(open_run(run_dir), search),
            kinds=tuple(kinds.split(",")) if kinds else None,
            rates=steps,
            report=lambda message: progress("search", message),
            **settings,
        )
    path = composite_path(run_dir)
    if as_json:
        print_json({"composite": str(path), "a_pr": found.a_pr, "trials": [asdict(row) for row in found.trials]})
    else:
        echo(path)


def _with_search(stage: click.Command) -> click.Command:
    """The stage's command with the options of the search."""
    plain = stage.callback

    def callback(
        run_dir: Path,
        force: bool,
        settings: tuple[str, ...],
        as_json: bool,
        search: int | None,
        **options: Any,
    ) -> None:
        if search is None:
            given = [f"--{key.replace('_', '-')}" for key, value in options.items() if value]
            if given:
                raise click.UsageError(f"{', '.join(given)} is for a search: give --search N too")
            if plain is not None:
                plain(run_dir=run_dir, force=force, settings=settings, as_json=as_json)
            return
        if settings or force:
            word = "--set" if settings else "--force"
            raise click.UsageError(
                f"{word} does not go with --search: a search leaves the recipe and the scores as they are"
            )
        _search(run_dir, search, options, as_json)

    added = [
        click.Option(["--search"], type=click.IntRange(1), metavar="N", help="Search until the study has N trials."),
        click.Option(["--storage"], help="URL of the study's database. [default: SQLite in RUN_DIR/search]"),
        click.Option(["--study"], help="The study's name. [default: by the model, the images and the rates]"),
        click.Option(["--kinds"], help="Kinds of units removed in the search. [default: the recipe's]"),
        click.Option(["--rates"], help="Pruning rates of the search. [default: 0, 0.05, ..., 0.95]"),
        click.Option(
            ["--images-per-class"], type=click.IntRange(0), default=0, help="Images of the objective (0: all)."
        ),
    ]
    return click.Command(
        "score", params=[*stage.params, *added], callback=callback, help=_HELP, short_help=stage.short_help
    )


command = trusting("run_dir")(
    _with_search(by_all_processes(stage_command("score", "Scores every unit of a run's model by the recipe's method.")))
)
