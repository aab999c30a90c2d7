"""`secateur bundle RUN_DIR`."""

from __future__ import annotations

from pathlib import Path

import click

from secateur.pipeline.cli.common import (
    PLACE,
    Progress,
    echo,
    json_option,
    print_json,
    trusting,
)


@trusting("run_dir")
@click.command("bundle", short_help="What a device needs of a run, with what proves it there.")
@click.argument("run_dir", type=PLACE)
@click.option(
    "--out",
    type=PLACE,
    help="A folder, or an archive X.tar or X.tar.zst. [default: RUN_DIR.tar.zst]",
)
@click.option("--images", default=8, show_default=True, type=click.IntRange(1, 1000), help="Golden images.")
@click.option("--dense/--no-dense", default=True, show_default=True, help="The unpruned model too, to compare latency.")
@click.option("--serving", is_flag=True, help="What Triton and DeepStream take too, with the graphs and engines again.")
@json_option
def command(run_dir: Path, out: Path | None, images: int, dense: bool, serving: bool, as_json: bool) -> None:
    """Packs the graphs and engines of a run with labels, preprocessing, golden images, evidence and a runner.

    Engines that devices have built over ssh (`secateur build RUN_DIR --device NAME`) go in too, and each device runs
    its own. The golden images are some of the calibration split. The same run gives the same bytes. On the device,
    `secateur verify` proves the bundle; where there is no secateur, unpack it and run `python3 -m bundle_runner verify`
    inside.

    Example: secateur bundle runs/half --out half.tar.zst
    """
    from dataclasses import asdict

    from secateur.pipeline.runs.bundle_run import bundle_run

    whole = run_dir.resolve()
    beside = whole.parent if run_dir.name in ("", "..") else run_dir.parent
    place = out or beside / f"{whole.name or 'bundle'}.tar.zst"
    left_out: list[str] = []
    with Progress() as progress:
        manifest = bundle_run(
            *(run_dir, place),
            images=images,
            dense=dense,
            serving=serving,
            say=lambda message: progress("bundle", message),
            tell=left_out.append,
        )
    for sentence in left_out:
        echo(sentence, err=True)
    if as_json:
        print_json({"schema": "secateur.bundle/1", "out": str(place), **asdict(manifest)})
        return
    size = place.stat().st_size if place.is_file() else sum(one.size_bytes for one in manifest.files.values())
    echo(
        f"{place}: {len(manifest.files)} files, {size / 1e6:.1f} MB, engines for "
        f"{', '.join(engine.name for engine in manifest.engines)}"
    )
