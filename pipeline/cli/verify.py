"""`secateur verify BUNDLE`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from secateur.pipeline.cli.common import (
    PLACE,
    SECONDS,
    THREADS,
    Progress,
    device_option,
    echo,
    find_remotes,
    json_option,
    keep_option,
    print_json,
)
from secateur.pipeline.cli.condition_lines import condition_lines


@click.command("verify", short_help="Is a bundle right and as fast as it says, on this machine?")
@click.argument("bundle", type=PLACE)
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="TARGET",
    help="An engine of the bundle, such as onnxruntime:cpu@fp16; may be repeated. [default: all that are for here]",
)
@click.option("--seconds", default=3.0, show_default=True, type=SECONDS, help="Of measuring for each engine.")
@click.option("--threads", type=THREADS, help="Of ONNX Runtime on the CPU. [default: those of the evidence]")
@click.option("--latency/--no-latency", default=True, show_default=True, help="Whether to measure.")
@device_option
@keep_option
@json_option
def command(
    bundle: Path,
    targets: tuple[str, ...],
    seconds: float,
    threads: int | None,
    latency: bool,
    devices: tuple[str, ...],
    keep: bool,
    as_json: bool,
) -> None:
    """Checks a bundle, a folder or an archive, in this order: checksums, engines, golden outputs, latency.

    Exit 0 pass, 1 a check failed, 2 the bundle is damaged or cannot be read, 3 inconclusive. Nothing that is in the
    bundle is executed but its graphs and engines; an archive is unpacked into a temporary folder. With --device it is
    verified there, on several in turn, with the sensors read beside it: the exit code is that of the first one that
    does not pass.

    Example: secateur verify half.tar.zst --target onnxruntime:cpu
    """
    from secateur.core.errors import BundleError
    from secateur.export.devices.verify import verify_there
    from secateur.export.runner.errors import RunnerError
    from secateur.export.runner.verify import verify

    remotes, found = find_remotes(devices, keep), {}
    try:
        with Progress() as progress:
            say = partial(progress, "verify")
            options: Any = {"seconds": seconds, "latency": latency, "threads": threads, "say": say}
            if not remotes:
                found[""] = verify(bundle, targets, **options)
            for remote in remotes:
                found[remote.device.name] = verify_there(remote, bundle, targets, **options)
    except RunnerError as error:
        raise BundleError(str(error)) from error
    if as_json:
        documents = {name: verdict.to_json() for name, verdict in found.items()}
        print_json({"schema": "secateur.verdicts/1", "devices": documents} if remotes else documents[""])
    else:
        for name, verdict in found.items():
            if verdict.conditions is not None:
                for line in condition_lines(name, {bundle.name: verdict.conditions}):
                    echo(line)
            for line in verdict.lines():
                echo(f"{name}: {line}" if name else line)
    codes = [verdict.exit_code for verdict in found.values()]
    click.get_current_context().exit(next((code for code in codes if code), 0))
