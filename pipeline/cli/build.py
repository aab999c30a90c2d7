"""`secateur build RUN_DIR`."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path

import click

from secateur.pipeline.cli.common import (
    PLACE,
    Progress,
    device_option,
    echo,
    find_remotes,
    force_option,
    json_option,
    keep_option,
    print_json,
    settings_option,
)
from secateur.pipeline.cli.stages import stage_command

SUMMARY = "Builds the engines that the recipe names."


@click.command("build", short_help=SUMMARY)
@click.argument("run_dir", type=PLACE)
@device_option
@keep_option
@force_option
@settings_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    run_dir: Path,
    devices: tuple[str, ...],
    keep: bool,
    force: bool,
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """Builds the engines that the recipe names, here or with --device on devices over ssh.

    What is built on a device goes into devices/NAME/ in the run, where `secateur bench RUN_DIR --device NAME` finds it.

    Example: secateur build runs/half

    Example: secateur build runs/half --device orin
    """
    remotes = find_remotes(devices, keep)
    if not remotes:
        here = stage_command("build", SUMMARY)
        context.invoke(here, run_dir=run_dir, force=force, settings=settings, as_json=as_json)
        return
    from secateur.pipeline.report.stage import ALL_STAGES
    from secateur.pipeline.runs.left_out import check_built, left_out
    from secateur.pipeline.runs.recipe import changed
    from secateur.pipeline.runs.remote_build import build_on, device_folder
    from secateur.pipeline.runs.runner import open_run, run_stages

    run = open_run(run_dir)
    if settings:
        run = open_run(run_dir, changed(run.recipe, settings), update=True)
    found = {}
    with Progress() as progress:
        run_stages(run, "export", progress, ALL_STAGES, force)
        for remote in remotes:
            found[remote.device.name] = build_on(run_dir, run.recipe, remote, partial(progress, "build"))
    for name in found:
        check_built(device_folder(run_dir, name))
        for sentence in left_out(device_folder(run_dir, name), "build"):
            echo(f"{name}: {sentence}", err=True)
    if as_json:
        print_json({"schema": "secateur.builds/1", "devices": {name: asdict(built) for name, built in found.items()}})
        return
    for name, built in found.items():
        for path in built.built:
            echo(device_folder(run_dir, name) / path)
