"""`secateur plan RUN_DIR` and its like: the commands that bring a run directory up to date through one stage."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from secateur.pipeline.cli.common import (
    PLACE,
    Progress,
    echo,
    force_option,
    json_option,
    print_json,
    say_left_out,
    settings_option,
    trusting,
)


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
    @click.argument("run_dir", type=PLACE)
    @force_option
    @settings_option
    @json_option
    def command(run_dir: Path, force: bool, settings: tuple[str, ...], as_json: bool) -> None:
        from dataclasses import asdict

        from secateur.pipeline.report.stage import ALL_STAGES
        from secateur.pipeline.runs.left_out import check_built
        from secateur.pipeline.runs.recipe import changed
        from secateur.pipeline.runs.runner import open_run, run_stages
        from secateur.pipeline.runs.stage_facts import stage_facts

        run = open_run(run_dir)
        if settings:
            run = open_run(run_dir, changed(run.recipe, settings), update=True)
        with Progress() as progress:
            entries = run_stages(run, stage, progress, ALL_STAGES, force)
        if stage == "build":
            check_built(run_dir)
        say_left_out(run_dir, stage)
        if as_json:
            print_json(asdict(entries[stage]))
        else:
            for name in entries[stage].outputs:
                echo(run_dir / name)
            for line in stage_facts(run_dir, stage):
                echo(line)

    return command


_of_run = trusting("run_dir")
plan = _of_run(stage_command("plan", "Decides which units stay, under the recipe's budget."))
recover = _of_run(
    by_all_processes(  # by one process, or by all that `accelerate launch -m secateur recover RUN_DIR` starts
        stage_command("recover", "Repairs the pruned model in closed form, then distils it if the recipe says so.")
    )
)
export = _of_run(
    stage_command("export", "Writes the dense and the small model as ONNX and checks both against PyTorch.")
)
