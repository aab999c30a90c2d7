"""`secateur gate`."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from secateur.pipeline.cli.common import (
    PLACE,
    Progress,
    device_option,
    echo,
    find_remotes,
    json_option,
    keep_option,
    print_json,
    trusting,
)

if TYPE_CHECKING:
    from secateur.benchmarks.gate import Verdict
    from secateur.benchmarks.results_file import BenchResult


@trusting("paths")
@click.command("gate", short_help="Pass, fail or inconclusive: is the candidate really faster?")
@click.argument("paths", metavar="[BASELINE] CANDIDATE", nargs=-1, required=True, type=PLACE)
@click.option(
    "--min-speedup",
    type=float,
    metavar="RATIO",
    help="Of the candidate over its own dense side. [default: 1 where nothing else is asked]",
)
@click.option(
    "--min-relative",
    type=float,
    metavar="SHARE",
    help="Share of the baseline's speedup that the candidate must keep. [default: 0.95 with a baseline]",
)
@click.option("--max-macs", metavar="AMOUNT", help="For one image: 600M, 1.2G, or a fraction of dense up to 1.")
@click.option("--max-size", metavar="AMOUNT", help="Of what runs: 12MB, 8MiB, or a fraction of dense up to 1.")
@click.option("--min-top1", type=float, metavar="PERCENT", help="On the held-out images.")
@click.option(
    "--max-drop", type=float, metavar="POINTS", help="Top-1, or what else the task is judged by, below dense."
)
@click.option("--max-latency", type=float, metavar="MS", help="The candidate's median for one run of a batch.")
@click.option("--max-p90", type=float, metavar="MS", help="Its 90th percentile.")
@click.option("--max-p99", type=float, metavar="MS", help="Its 99th percentile; needs 500 samples.")
@click.option(
    "--max-drift",
    type=float,
    metavar="RATIO",
    help="How many times as long the dense side may take as at the baseline. [default: above 1.5 is inconclusive]",
)
@click.option("--max-energy", metavar="AMOUNT", help="Of an image, above idle: 5mJ, or a fraction of dense up to 1.")
@click.option(
    "--min-fidelity", type=float, metavar="COSINE", help="Of both models' relevance maps, on the report's images."
)
@click.option(
    "--max-parity", type=float, metavar="SHARE", help="How far a graph may be from PyTorch, as a share of its scale."
)
@click.option("--align", type=click.IntRange(2), metavar="N", help="Widths that were cut must be multiples of N.")
@click.option(
    "--retries",
    type=click.IntRange(0, 9),
    default=0,
    metavar="N",
    help="Measure a run again where it is inconclusive, up to N times; all samples count, and the looks share the 5 %.",
)
@click.option("--target", "targets", multiple=True, metavar="TARGET", help="Only this target; may be repeated.")
@click.option("--trtexec", is_flag=True, help="The two files are times of trtexec --exportTimes: DENSE and PRUNED.")
@click.option("--batch", type=click.IntRange(1), help="Of the times of trtexec. [default: 1]")
@click.option("--junit", metavar="FILE", type=PLACE, help="Write the verdict as JUnit XML too.")
@click.option("--markdown", metavar="FILE", type=PLACE, help="And as Markdown, for a pull request.")
@click.option("--calibrate", is_flag=True, help="First measure this machine's noise, and refuse limits it cannot hold.")
@click.option(
    "--summary",
    metavar="FILE",
    envvar="GITHUB_STEP_SUMMARY",
    type=PLACE,
    help="Add that Markdown to this file. [default: $GITHUB_STEP_SUMMARY where it is set]",
)
@click.option("--accept", is_flag=True, help="Judge nothing: write CANDIDATE's measurements to BASELINE.")
@device_option
@keep_option
@json_option
def command(
    paths: tuple[Path, ...],
    min_speedup: float | None,
    min_relative: float | None,
    max_macs: str | None,
    max_size: str | None,
    min_top1: float | None,
    max_drop: float | None,
    max_latency: float | None,
    max_p90: float | None,
    max_p99: float | None,
    max_drift: float | None,
    max_energy: str | None,
    min_fidelity: float | None,
    max_parity: float | None,
    align: int | None,
    retries: int,
    targets: tuple[str, ...],
    trtexec: bool,
    batch: int | None,
    junit: Path | None,
    markdown: Path | None,
    summary: Path | None,
    calibrate: bool,
    accept: bool,
    devices: tuple[str, ...],
    keep: bool,
    as_json: bool,
) -> None:
    """Judges a bench.json (or a run directory): exit 0 pass, 1 fail, 3 inconclusive, 2 not comparable.

    A candidate alone is judged against its own dense side, measured in turn with it. With a BASELINE, an earlier
    bench.json from the same kind of machine, the candidate must also keep the baseline's speedup. A ratio passes
    when its whole 95 % interval reaches the limit and fails when none of it does.

    A run directory must be up to date; a bench.json is judged as it is. Where speed is judged, a target that was asked
    for and not measured is inconclusive, unless the targets to judge are named with --target. A baseline changes by
    --accept only.

    With --calibrate the dense model of a run is measured against itself over twelve processes first: the notes say how
    far they differ and which limits can be held, and a tighter --min-relative is refused (exit 2).

    A limit on accuracy is judged by its interval too, a loss on the same images: give enough of them. A target in
    another precision is judged by what its engine has right, and fails where it runs in another one than asked.

    With --device the CANDIDATE, a run directory, is measured there and judged; a device measures no accuracy. Several
    devices are judged in turn, and the worst verdict is that of all.

    Example: secateur gate runs/half --min-speedup 1.3 --max-drop 1

    Example: secateur gate runs/half --device orin --min-speedup 1.3

    Example: secateur gate baseline.json runs/half/bench.json --min-speedup 1.3

    Example: secateur gate --trtexec model.dense.times.json model.times.json --min-speedup 1.3
    """
    from secateur.benchmarks.gate import together
    from secateur.benchmarks.gating import verdict_files
    from secateur.core.files import append_text, write_text

    if len(paths) > 2:
        raise click.UsageError(f"got {len(paths)} files: give a candidate, or a baseline and a candidate")
    from secateur.pipeline.runs.gate_run import accepted, calibrated, gate

    if trtexec and (len(paths) != 2 or accept or len(targets) > 1):
        raise click.UsageError("--trtexec takes two files of times, DENSE and PRUNED, one --target, and no --accept")
    if batch is not None and not trtexec:
        raise click.UsageError("--batch is of the times of trtexec: a bench.json says its own")
    if accept:
        limits = (
            *(min_speedup, min_relative, max_macs, max_size, min_top1, max_drop),
            *(max_latency, max_p90, max_p99, max_drift, max_energy, min_fidelity, max_parity, align, retries or None),
        )
        if (
            len(paths) != 2
            or targets
            or devices
            or junit
            or markdown
            or calibrate
            or any(limit is not None for limit in limits)
        ):
            raise click.UsageError("--accept takes BASELINE and CANDIDATE and judges nothing: give no limits with it")
        said = accepted(paths[1], paths[0])
        print_json({"schema": "secateur.accepted/1", "accepted": said}) if as_json else echo(said)
        return
    _check_places(paths, junit, markdown, summary)
    for path in (junit, markdown):  # what is not judged must not leave an earlier verdict there
        if path is not None and path.is_file():
            path.unlink()
    candidate: BenchResult | Path = _of_trtexec(paths, targets, batch or 1) if trtexec else paths[-1]
    remotes = find_remotes(devices, keep)
    if remotes and trtexec:
        raise click.UsageError("--device measures a run directory: leave --trtexec out")
    baseline = paths[0] if len(paths) == 2 and not trtexec else None
    if len(remotes) > 1 and baseline is not None:
        raise click.UsageError("a BASELINE is of one device: judge the others one by one")
    if calibrate and (devices or trtexec):
        raise click.UsageError("--calibrate measures on this machine: leave --device and --trtexec out")
    with Progress() as progress:
        noises: list[str] = []
        if calibrate:
            noises = calibrated(paths[-1], baseline, min_relative, targets, partial(progress, "calibrate"))
        judged = partial(
            gate,
            candidate,
            baseline,
            min_speedup=min_speedup,
            min_relative=min_relative,
            max_macs=max_macs,
            max_size=max_size,
            min_top1=min_top1,
            max_drop=max_drop,
            max_latency=max_latency,
            max_p90=max_p90,
            max_p99=max_p99,
            max_drift=max_drift,
            max_energy=max_energy,
            min_fidelity=min_fidelity,
            max_parity=max_parity,
            align=align,
            targets=targets,
            retries=retries,
            say=partial(progress, "gate"),
        )
        if len(remotes) > 1:
            verdict = together({remote.device.name: judged(remote=remote) for remote in remotes})
        else:
            verdict = judged(remote=next(iter(remotes), None))
    verdict = replace(verdict, notes=(*noises, *verdict.notes))
    for path, form in ((junit, verdict_files.junit), (markdown, verdict_files.markdown)):
        if path is not None:
            write_text(path, form(verdict))
    if summary is not None:
        append_text(summary, verdict_files.markdown(verdict))
    if as_json:
        print_json({"schema": "secateur.gate/1", **asdict(verdict), "exit_code": verdict.exit_code})
    else:
        print_verdict(verdict)
    click.get_current_context().exit(verdict.exit_code)


def _check_places(judged: tuple[Path, ...], junit: Path | None, markdown: Path | None, summary: Path | None) -> None:
    """Refuses to write a verdict over anything but an earlier one, or two to one place."""
    from secateur.benchmarks.gating.verdict_files import is_verdict

    given = {"--junit": junit, "--markdown": markdown, "--summary": summary}
    places = {word: path.resolve() for word, path in given.items() if path is not None}
    for word, path in places.items():
        if twin := next((other for other in places if other != word and places[other] == path), None):
            raise click.UsageError(f"{word} and {twin} are one file, {path}: name two")
        added = word == "--summary" and not any(one.resolve() in (path, *path.parents) for one in judged)
        if path.is_file() and not added and not is_verdict(path):
            raise click.UsageError(f"{word} is {path}, which is there and is no earlier verdict: name another file")


def _of_trtexec(paths: tuple[Path, ...], targets: tuple[str, ...], batch: int) -> BenchResult:
    from secateur.benchmarks.trtexec_times import trtexec_result
    from secateur.export.targets import parse_typed_target

    target = str(parse_typed_target(targets[0])) if targets else "tensorrt"
    return trtexec_result(paths[0], paths[1], target, batch)


def print_verdict(verdict: Verdict) -> None:
    """Prints a verdict on stdout: its checks, its notes, and what it comes to."""
    from rich.table import Table
    from rich.text import Text

    from secateur.benchmarks.gating.verdict_files import number
    from secateur.pipeline.report.console import InertConsole

    styles = {"pass": "green", "fail": "red", "inconclusive": "yellow"}
    console = InertConsole(width=None if sys.stdout.isatty() else 120)
    table = Table("check", "where", "value", verdict.interval, "limit", "outcome")
    for check in verdict.checks:
        interval = f"{check.low:.3f} to {check.high:.3f}" if check.low is not None and check.high is not None else ""
        table.add_row(
            check.name,
            check.where,
            number(check.value),
            interval,
            number(check.limit),
            Text(check.outcome, styles[check.outcome]),
        )
    console.print(table)
    for note in verdict.notes:
        console.print(f"note: {note}", soft_wrap=True)
    console.print(verdict.sentence, style=styles[verdict.outcome], soft_wrap=True)
