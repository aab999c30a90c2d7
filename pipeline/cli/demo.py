"""`secateur demo`."""

from __future__ import annotations

from pathlib import Path

import click

from secateur.pipeline.cli.common import PLACE, echo, json_option, settings_option
from secateur.pipeline.cli.run import take


@click.command("demo", short_help="The embedded default, end to end, no network.")
@click.option("--out", type=PLACE, default=Path("runs/demo"), show_default=True)
@click.option("--update", is_flag=True, help="Let the run directory follow changed settings.")
@settings_option
@json_option
def command(out: Path, update: bool, settings: tuple[str, ...], as_json: bool) -> None:
    """Prunes the embedded ViT for handwritten digits to half of its MACs, end to end.

    Example: secateur demo --out runs/demo --set budget.macs=0.4
    """
    from importlib.resources import as_file, files

    with as_file(files("secateur.pipeline.demo")) as folder:
        take(Path(folder) / "demo.yaml", out, settings, update, as_json)
    if not as_json:
        say_closing(out)


def say_closing(folder: Path) -> None:
    """Says what went, how the gate judges it, and what to type next; a gate that fails here is no error."""
    from secateur.pipeline.cli.gate import print_verdict
    from secateur.pipeline.demo.closing import closing_of

    found = closing_of(folder)
    echo(f"What stayed: {found.stayed}.")
    print_verdict(found.verdict)
    echo("Next:")
    for step in found.steps:
        echo(f"  {step.command}")
        echo(f"      {step.why}")
