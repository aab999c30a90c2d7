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
    trusting,
)
from secateur.pipeline.cli.condition_lines import condition_lines
from secateur.pipeline.cli.stages import stage_command

SUMMARY = "Builds the engines that the recipe names."


@trusting("run_dir")
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

    What is built on a device goes into devices/NAME/ in the run, where `secateur bench RUN_DIR --device NAME` and
    `secateur bundle RUN_DIR` find it; engine.json says what the device was like meanwhile.

    Example: secateur build runs/half

    Example: secateur build runs/half --device orin
    """
    remotes = find_remotes(devices, keep)
    if not remotes:
        here = stage_command("build", SUMMARY)
        context.invoke(here, run_dir=run_dir, force=force, settings=settings, as_json=as_json)
        return
    from secateur.export.engine_info import EngineInfo
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
    for name, built in found.items():
        folder = device_folder(run_dir, name)
        check_built(folder)
        for sentence in left_out(folder, "build"):
            echo(f"{name}: {sentence}", err=True)
        infos = {str(place.relative_to(folder)): EngineInfo.load(place) for place in built.engines(folder)}
        seen = {place: info.conditions for place, info in infos.items() if info.conditions is not None}
        for line in dict.fromkeys(condition_lines(name, seen)):
            echo(line, err=True)
        for place, one in seen.items():
            for sentence in (*one.throttled, *one.faults):
                echo(f"{name}: {place}: {sentence}", err=True)
    if as_json:
        print_json({"schema": "secateur.builds/1", "devices": {name: asdict(built) for name, built in found.items()}})
        return
    for name, built in found.items():
        for path in built.built:
            echo(device_folder(run_dir, name) / path)
