"""`secateur bench PATH...`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from secateur.benchmarks.modes.mode import COUNTED, parse_mode
from secateur.pipeline.cli.common import (
    NAMED,
    Place,
    Progress,
    device_option,
    find_remotes,
    force_option,
    json_option,
    keep_option,
    print_json,
    settings_option,
    trusting,
)
from secateur.pipeline.cli.condition_lines import condition_lines

if TYPE_CHECKING:
    from secateur.benchmarks.bench import Measured
    from secateur.benchmarks.results_file import BenchResult, Latency, Side
    from secateur.export.devices.device import Remote


@trusting("paths", "against")
@click.command("bench", short_help="Latency of models, runs, ONNX files and engines; paired when two are given.")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=NAMED)
@click.option("--against", metavar="PATH", type=NAMED, help="The reference. [default: the first of several PATHs]")
@click.option("--batch", "batches", type=int, multiple=True, help="Batch size; may be repeated. [default: 1]")
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="TARGET",
    help="Such as onnxruntime:cpu or torch:cuda; may be repeated. [default: what all PATHs can run on]",
)
@click.option("--seconds", type=float, help="At most so long for each target and batch. [default: 10]")
@click.option("--threads", type=int, help="CPU threads. [default: PyTorch's number]")
@click.option("--processes", type=int, help="That measure two PATHs, one after the other. [default: 8]")
@click.option("--samples", type=int, help="So many runs of each side, within --seconds. [default: until it is precise]")
@click.option(
    "--mode",
    "modes",
    multiple=True,
    metavar="MODE",
    help="What is timed: hot, cold, copies, graph, concurrent:N or throughput:N; may be repeated. [default: hot]",
)
@click.option("--out", type=Place(dir_okay=False), help="Write the comparison as this bench.json.")
@device_option
@keep_option
@force_option
@settings_option
@json_option
def command(
    paths: tuple[str, ...],
    against: str | None,
    batches: tuple[int, ...],
    targets: tuple[str, ...],
    seconds: float | None,
    threads: int | None,
    processes: int | None,
    samples: int | None,
    modes: tuple[str, ...],
    out: Path | None,
    devices: tuple[str, ...],
    keep: bool,
    force: bool,
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """Measures models: timm names, run directories, .onnx and .engine files.

    One PATH is measured alone, several in turn with the reference (A B B A, in several processes), which gives the
    speedup with its 95 % interval. A run directory alone is its dense against its pruned model: without options as its
    bench stage, which writes its bench.json where it is not up to date (--force: in any case); with options for once,
    without touching the run. Exit 2 where nothing can be measured.

    With --device, models run there by ONNX Runtime or TensorRT, in as many processes and in all modes but graph (cold
    where a CPU runs them), and the result has the device's clocks, temperatures and energy; a connection that breaks is
    made again, and the same command takes up work that goes on there.

    Modes: hot times follow a run of the same side; cold ones caches that were overwritten; copies have those to and
    from a GPU within; graph replays a CUDA graph; concurrent:N is N sessions started at once until the last is done;
    throughput:N keeps N sessions busy (images/s). Each has a key of its own, and no two are compared.

    Example: secateur bench runs/half/model.onnx --against runs/half/model.dense.onnx --batch 1 --batch 8
    """
    from secateur.benchmarks.effort import Effort
    from secateur.pipeline.runs.measure import measure
    from secateur.pipeline.runs.run_folder import is_run
    from secateur.pipeline.runs.subjects import open_subject, run_subjects

    alone = len(paths) == 1 and against is None and is_run(Path(paths[0]))
    once = bool(batches or targets or out or modes or devices)
    once = once or any(number is not None for number in (seconds, threads, samples, processes))
    if (settings or force) and (once or not alone):
        word = "--set" if settings else "--force"
        raise click.UsageError(f"{word} is for the bench stage of a run directory, and goes with that PATH alone")
    if alone and not once:
        _stage(Path(paths[0]), settings, force, as_json)
        return
    if out is not None and (len(paths) - (against is None) > 1 or len(devices) > 1):
        raise click.UsageError("--out takes one comparison: give two PATHs, or one with --against, and one device")
    remotes = find_remotes(devices, keep)
    seconds = 10.0 if seconds is None else seconds
    effort = Effort(seconds, threads=threads, modes=modes or ("hot",), processes=processes).exactly(samples)
    with Progress() as progress:
        progress("bench", "opening the models")
        say, found = partial(progress, "bench"), []
        places: list[Remote | None] = [*remotes] or [None]
        for remote in places:
            if alone:
                subjects = [*run_subjects(Path(paths[0]), remote.device.name if remote else "")]
            else:
                words = [*([against] if against else []), *paths]
                subjects = [open_subject(word, targets) for word in words]
            found += measure(subjects, targets, batches or (1,), effort, say, remote)
    if out is not None:
        _save(found[0], out)
    if as_json:
        documents = [_document(result) for result in found]
        print_json(documents[0] if len(documents) == 1 else {"schema": "secateur.benches/1", "results": documents})
    else:
        _print(found)


def _stage(folder: Path, settings: tuple[str, ...], force: bool, as_json: bool) -> None:
    """Brings a run up to date through its bench stage and shows the comparison."""
    from secateur.benchmarks.results_file import read_bench
    from secateur.core.files import read_json
    from secateur.pipeline.runs.recipe import changed
    from secateur.pipeline.runs.runner import open_run, run_stages

    run = open_run(folder)
    if settings:
        run = open_run(folder, changed(run.recipe, settings), update=True)
    with Progress() as progress:
        run_stages(run, until="bench", report=progress, force=force)
    if as_json:
        print_json(read_json(folder / "bench.json", "bench"))
    else:
        _print([read_bench(folder)])


def _save(found: BenchResult | Measured, path: Path) -> None:
    from secateur.benchmarks.results_file import BenchResult

    if not isinstance(found, BenchResult):
        raise click.UsageError("--out writes a comparison: give a second PATH")
    found.save(path)


def _document(found: BenchResult | Measured) -> dict[str, Any]:
    from secateur.benchmarks.results_file import BenchResult

    kind = "bench" if isinstance(found, BenchResult) else "latency"
    return {"schema": f"secateur.{kind}/1", **asdict(found)}


def _print(found: list[BenchResult | Measured]) -> None:
    """One table: a line for each model, target and batch."""
    from rich.table import Table

    from secateur.benchmarks.keys import split_key
    from secateur.benchmarks.results_file import BenchResult
    from secateur.pipeline.report.console import InertConsole

    table = Table("model")
    if on_devices := any(result.device for result in found):
        table.add_column("device")
    sides = [
        side
        for result in found
        for side in ((result.dense, result.pruned) if isinstance(result, BenchResult) else (result.side,))
    ]
    columns = _columns([latency for side in sides for latency in side.latency_ms.values()])
    wide = 120 + 14 * (len(columns) - 3)
    console = InertConsole(width=_terminal_width() or wide)
    narrow = console.width < wide
    for column in ("target", "batch", *columns, "stopped by", "speedup [95 %]"):
        table.add_column(column, no_wrap=not narrow, overflow="fold")
    if narrow:  # all columns fold, and none is lost
        table.columns[0].overflow, table.box, table.padding = "fold", None, (0, 1, 0, 0)
    remarks: dict[str, None] = {}

    def add(side: Side, device: str, speedup: dict[str, str]) -> None:
        for key, latency in side.latency_ms.items():
            numbers = [_number(getattr(latency, name)) for name in columns.values()]
            place = [device] if on_devices else []
            names = (side.name, *place, split_key(key)[0], str(latency.batch))
            table.add_row(*names, *numbers, latency.stopped, speedup.get(key, ""))

    for result in found:
        if isinstance(result, BenchResult):
            add(result.dense, result.device, {})
            add(result.pruned, result.device, {key: str(interval) for key, interval in result.speedup.items()})
        else:
            add(result.side, result.device, {})
        remarks.update(dict.fromkeys(f"not measured: {target}: {why}" for target, why in result.skipped.items()))
        remarks.update(dict.fromkeys(f"note: {note}" for note in result.notes))
        remarks.update(dict.fromkeys(condition_lines(result.device, result.conditions)))
    if table.row_count:
        console.print(table)
    for remark in remarks:
        console.print(remark, soft_wrap=True)


def _terminal_width() -> int | None:
    """The columns of the terminal that stdout is; None where it is none."""
    from shutil import get_terminal_size

    return get_terminal_size().columns if sys.stdout.isatty() else None


def _columns(latencies: list[Latency]) -> dict[str, str]:
    """The titles of the columns with numbers, each with its attribute: a tail and a throughput where there are any."""
    columns = {"p50 ms": "p50", "p90 ms": "p90", "p99 ms": "p99"}
    if any(latency.p999 is not None for latency in latencies):
        columns["p99.9 ms"] = "p999"
    if any(parse_mode(latency.mode).name in COUNTED for latency in latencies):
        columns["images/s"] = "images_per_second"
    return columns


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1f}" if value >= 1000 else f"{value:.3f}"
