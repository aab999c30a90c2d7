"""`secateur serving RUN_DIR`."""

from __future__ import annotations

from pathlib import Path

import click

from secateur.pipeline.cli.common import (
    PLACE,
    Place,
    echo,
    json_option,
    print_json,
    trusting,
)


@trusting("run_dir")
@click.command("serving", short_help="Files for Triton and DeepStream, of the small model of a run.")
@click.argument("run_dir", type=PLACE)
@click.option(
    "--out",
    type=Place(file_okay=False),
    help="The folder to write. [default: RUN_DIR/serving]",
)
@click.option("--name", help="What the model is served as. [default: the name of RUN_DIR]")
@click.option("--batch", default=8, show_default=True, type=click.IntRange(1), help="The largest batch of the graphs.")
@json_option
def command(run_dir: Path, out: Path | None, name: str | None, batch: int, as_json: bool) -> None:
    """Writes a model repository for Triton, and for each precision a configuration of DeepStream's Gst-nvinfer.

    Each GPU that Triton finds loads the engine that was built for it, or none. nvinfer normalises with one factor for
    all channels: what is left of the model's own normalisation is in the graph that is written beside its
    configuration.

    Example: secateur serving runs/half --out half.serving
    """
    from dataclasses import asdict

    from secateur.pipeline.runs.serving_run import serving_run

    place = out or run_dir / "serving"
    found = serving_run(run_dir, place, name or run_dir.resolve().name, batch)
    if as_json:
        print_json({"schema": "secateur.serving/1", "out": str(place), **asdict(found)})
        return
    for file in found.files:
        echo(place / file)
    for what, why in found.left_out.items():
        echo(f"left out: {what}: {why}")
