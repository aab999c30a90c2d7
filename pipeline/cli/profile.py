"""`secateur profile RUN_DIR --target T`."""

from __future__ import annotations

from pathlib import Path

import click

from secateur.pipeline.cli.common import (
    PLACE,
    SECONDS,
    Progress,
    echo,
    find_remotes,
    json_option,
    print_json,
    trusting,
)


@trusting("run_dir")
@click.command("profile", short_help="Latencies of a model's parts on a target, for latency budgets.")
@click.argument("run_dir", type=PLACE)
@click.option("--target", default="onnxruntime:cpu", show_default=True, help="Where to measure.")
@click.option("--batch", default=1, show_default=True, type=click.IntRange(1), help="Images at once.")
@click.option("--seconds", default=3.0, show_default=True, type=SECONDS, help="For each width, or for all layers.")
@click.option("--layers", is_flag=True, help="Time each layer of the dense and the pruned model instead.")
@click.option("--device", metavar="NAME", help="On this device over ssh, see `secateur device`.")
@json_option
def command(
    run_dir: Path, target: str, batch: int, seconds: float, layers: bool, device: str | None, as_json: bool
) -> None:
    """Measures what narrower layers of a run's model save on a target, and writes latency.json into the run.

    A budget such as `budget: {latency: 0.6, target: "onnxruntime:cpu"}` uses it. Where plan.allocate is joint,
    operations are timed in int8 too. What is measured is kept as it comes: after a stop the same command goes on.
    Savings whose interval covers zero are not promised, and a table of noise is not planned with. With --device the
    device builds and times everything, and a plan made here is for it.

    With --layers it times each layer of the dense and the pruned model in turns, by the runtime's own profiler, and
    writes layers.json: MACs, bytes, times, the target's roofline, and for each layer that lost MACs but no time why
    that is, as far as it was measured. A target may name a precision then, such as onnxruntime:cpu@fp16.

    Example: secateur profile runs/half --target onnxruntime:cpu
    """
    if layers and device:
        raise click.UsageError("--layers is measured where secateur is installed: leave --device out")
    if layers:
        _layers(run_dir, target, batch, seconds, as_json)
        return
    from dataclasses import asdict

    from secateur.pipeline.plan.latency_profile import profile
    from secateur.pipeline.runs.plan_stage import chooses_bits
    from secateur.pipeline.runs.profile_stage import FILE, PART, eight_bits
    from secateur.pipeline.runs.run_folder import RUN, check_free
    from secateur.pipeline.runs.runner import open_run

    (remote,) = find_remotes((device,), keep=False) if device else (None,)
    run = open_run(run_dir)
    check_free(run_dir, RUN)
    spec, threads = run.recipe.plan, run.recipe.bench.threads
    with Progress() as progress:
        table = profile(
            *(run.dense, run.groups, target, spec.kinds, batch, spec.align, seconds, threads),
            say=lambda message: progress("profile", message),
            keep=run_dir / PART,
            remote=remote,
            **(eight_bits(run.recipe, run.limit_images) if chooses_bits(run.recipe) else {}),
        )
    table.save(run_dir / FILE)
    if noise := table.noise(run.groups):
        echo(f"note: {noise}", err=True)
    if as_json:
        print_json(asdict(table))
        return
    echo(f"{target}, batch {batch}: dense {table.dense_ms:.3f} ms")
    for curve in table.curves:
        for share, saved, low, high in zip(curve.shares, curve.saved_ms, curve.low_ms, curve.high_ms, strict=True):
            if share < 1:
                echo(f"{curve.family} at {share:.0%}: {saved:+.4f} ms saved a group [{low:.4f}, {high:.4f}]")
    for operations in table.operations:
        names = f"{operations.operations[0]} and {len(operations.operations) - 1} more"
        values = zip(operations.shares, operations.saved_ms, operations.low_ms, operations.high_ms, strict=True)
        for share, saved, low, high in values:
            if share > 0:
                echo(f"{names} in {operations.precision} at {share:.0%}: {saved:+.4f} ms [{low:.4f}, {high:.4f}]")


def _layers(run_dir: Path, target: str, batch: int, seconds: float, as_json: bool) -> None:
    """Times the layers of a run and shows them."""
    from secateur.benchmarks.layers.layers_file import FILE, KIND
    from secateur.core.files import read_json
    from secateur.pipeline.cli.layers_table import print_layers
    from secateur.pipeline.runs.layers_run import profile_run_layers

    with Progress() as progress:
        found = profile_run_layers(run_dir, target, batch, seconds, lambda message: progress("profile", message))
    if as_json:
        print_json(read_json(run_dir / FILE, KIND))
        return
    print_layers(found)
