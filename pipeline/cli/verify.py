"""`secateur verify BUNDLE`."""

from __future__ import annotations

from pathlib import Path

import click

from secateur.pipeline.cli.common import SECONDS, Progress, json_option, print_json


@click.command("verify", short_help="Is a bundle right and as fast as it says, on this machine?")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="TARGET",
    help="An engine of the bundle, such as onnxruntime:cpu@fp16; may be repeated. [default: all that are for here]",
)
@click.option("--seconds", default=3.0, show_default=True, type=SECONDS, help="Of measuring for each engine.")
@click.option("--threads", type=click.IntRange(1), help="Of ONNX Runtime on the CPU. [default: those of the evidence]")
@click.option("--latency/--no-latency", default=True, show_default=True, help="Whether to measure.")
@json_option
def command(
    bundle: Path, targets: tuple[str, ...], seconds: float, threads: int | None, latency: bool, as_json: bool
) -> None:
    """Checks a bundle, a folder or an archive, in this order: checksums, engines, golden outputs, latency.

    Exit 0 pass, 1 a check failed, 2 the bundle is damaged or cannot be read, 3 inconclusive. Nothing that is in the
    bundle is executed but its graphs and engines; an archive is unpacked into a temporary folder.

    Example: secateur verify half.tar.zst --target onnxruntime:cpu
    """
    from secateur.core.errors import BundleError
    from secateur.export.runner.errors import RunnerError
    from secateur.export.runner.verify import verify

    try:
        with Progress() as progress:
            found = verify(
                bundle,
                targets,
                seconds=seconds,
                latency=latency,
                threads=threads,
                say=lambda message: progress("verify", message),
            )
    except RunnerError as error:
        raise BundleError(str(error)) from error
    if as_json:
        print_json(found.to_json())
    else:
        click.echo("\n".join(found.lines()))
    click.get_current_context().exit(found.exit_code)
