"""The kernels on a GPU: built, checked against float64 at every tile size, timed against the library, with rooflines.

`python -P -m secateur.benchmarks.gpu_suite` needs a GPU and pycuda. With `--dry` nothing runs: the bytes, the
arithmetic and the occupancy of every problem are computed for GPUs whose peaks are known, and the file says that it
predicts.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from secateur.benchmarks.gpu_problems import Cost, Problem, cost_of, problems
from secateur.benchmarks.roofline import Peak, peak_of, roofline_us
from secateur.core.errors import BenchError
from secateur.core.files import write_json
from secateur.kernels.resource_report import read_report
from secateur.kernels.resources import Resources

KIND = "gpu_suite"
COMMAND = "python -P -m secateur.benchmarks.gpu_suite"
DRY_DEVICES = ("NVIDIA H100 80GB HBM3", "Jetson AGX Orin 64GB", "Jetson Orin NX 16GB")
RESULTS = Path("benchmarks/results")


@click.command()
@click.option("--dry", is_flag=True, help="Predict bytes, arithmetic and occupancy; needs no GPU.")
@click.option("--device", "devices", multiple=True, help="A GPU to predict for (with --dry), by its data-sheet name.")
@click.option("--resources", type=click.Path(path_type=Path), default=RESULTS / "kernel_resources.json")
@click.option("--samples", default=30, show_default=True, help="Timed replays of each graph.")
@click.option("--out", type=click.Path(path_type=Path), help="Default: benchmarks/results/gpu_suite[_prediction].json")
def main(dry: bool, devices: tuple[str, ...], resources: Path, samples: int, out: Path | None) -> None:
    """Writes the suite's result, measured or predicted."""
    from secateur.benchmarks.environment import environment

    kernels = read_report(resources).kernels
    if dry:
        peaks = [peak_of(name) for name in devices or DRY_DEVICES]
        content = predict(peaks, kernels)
    else:
        content = measure(kernels, samples)
    content = {"command": COMMAND + (" --dry" if dry else ""), "environment": asdict(environment()), **content}
    place = out or RESULTS / ("gpu_suite_prediction.json" if dry else "gpu_suite.json")
    write_json(place, KIND, content)
    click.echo(f"{content['mode']}: {len(content['rows'])} rows written to {place}", err=True)


def predict(peaks: list[Peak], kernels: tuple[Resources, ...]) -> dict[str, Any]:
    """The content of a prediction: for each device and problem its cost and the least times. Nothing is measured."""
    rows = []
    for peak in peaks:
        own = _by_name(kernels, peak)
        for problem in problems():
            cost = cost_of(problem, peak.limits, own)
            rows.append({"device": peak.name, **_row(problem, cost, peak, own)})
    return {"mode": "prediction", "note": PREDICTION, "devices": [asdict(peak) for peak in peaks], "rows": rows}


PREDICTION = (
    "computed, not measured: bytes and arithmetic counted from the shapes, occupancy from the compiler's registers and "
    "shared memory, peaks from data sheets; roofline_us is a lower bound, launched_floor_us one for the work in whole "
    "tiles and whole waves of blocks"
)


def measure(kernels: tuple[Resources, ...], samples: int) -> dict[str, Any]:
    """The content of a measurement on this machine's first GPU; raises `BenchError` where a kernel computes wrongly."""
    import torch

    from secateur.benchmarks.gpu_checks import run_checks
    from secateur.benchmarks.gpu_contenders import contenders
    from secateur.kernels.launch import why_not

    reason = why_not()
    if reason:
        raise BenchError(f"the GPU suite cannot run here ({reason}): use --dry for the prediction")
    peak = peak_of(torch.cuda.get_device_name())
    checks = list(run_checks(peak.limits))
    wrong = [check for check in checks if not check.passed]
    if wrong:
        raise BenchError(f"{len(wrong)} of {len(checks)} checks failed, the first: {wrong[0]}: nothing was timed")
    own = _by_name(kernels, peak)
    rows = []
    for problem in problems():
        cost = cost_of(problem, peak.limits, own)
        times = {one.name: one.refused or _time(one, samples) for one in contenders(problem)}
        row = {**_row(problem, cost, peak, own), "times_us": times}
        rows.append(row)
        click.echo(f"{problem.name} {problem.dtype} x{problem.rows}: {times}", err=True)
    return {
        "mode": "measured",
        "device": asdict(peak),
        "checks": [asdict(check) for check in checks],
        "rows": rows,
        "goals": goals(rows),
    }


def goals(rows: list[dict[str, Any]]) -> dict[str, bool | None]:
    """Whether the goals of the kernels are met by measured rows; None for one that no row speaks of.

    Uniform heads no slower than the best library path; mixed heads 1.5 times faster than padded; at batch 64 at least
    70 % of the roofline.
    """
    attention = [row for row in rows if row["kernel"] == "ragged_attention" and row["dtype"] == "fp16"]

    def best(row: Mapping[str, Any], word: str) -> float:
        found = [time["p50"] for name, time in row["times_us"].items() if word in name and isinstance(time, dict)]
        return min(found, default=float("inf"))

    def every(found: list[bool]) -> bool | None:
        return all(found) if found else None

    ours = [(row, row["times_us"]["ours"]["p50"]) for row in attention]
    return {
        "uniform heads no slower than the library": every(
            [time <= best(row, "padded") for row, time in ours if row["name"].startswith("uniform")]
        ),
        "mixed heads 1.5 times faster than padded": every(
            [1.5 * time <= best(row, "padded") for row, time in ours if row["name"] == "mixed 8-64"]
        ),
        "70 % of the roofline at batch 64": every(
            [row["roofline_us"] / time >= 0.7 for row, time in ours if row["rows"] == 64]
        ),
    }


def _row(problem: Problem, cost: Cost, peak: Peak, own: Mapping[str, Resources]) -> dict[str, Any]:
    """What a prediction and a measurement both say of a problem."""
    launch = problem.launch(peak.limits)
    capacity = cost.blocks_per_multiprocessor * peak.multiprocessors
    whole_waves = -(-cost.blocks // capacity) * capacity / cost.blocks
    floor = roofline_us(peak, problem.dtype, cost.bytes_moved, int(cost.launched_flops * whole_waves))
    layout = problem.layout
    return {
        "name": problem.name,
        "kernel": problem.kernel,
        "variant": launch.kernel,
        "dtype": problem.dtype,
        "rows": problem.rows,
        "tokens": problem.tokens,
        "heads": None if layout is None else {"qk_dims": layout.qk_dims, "v_dims": layout.v_dims},
        "width": problem.width or None,
        "registers": own[launch.kernel].registers,
        "shared_bytes": launch.shared_bytes,
        **asdict(cost),
        "roofline_us": roofline_us(peak, problem.dtype, cost.bytes_moved, cost.flops),
        "padded_roofline_us": roofline_us(peak, problem.dtype, cost.padded_bytes_moved, cost.padded_flops),
        "launched_floor_us": floor,
    }


def _time(contender: Any, samples: int) -> dict[str, Any]:
    """Percentiles and raw samples of one contender, over copies of its buffers that outgrow the caches."""
    from secateur.benchmarks.gpu_clock import graph_samples_us, rotation_length

    first = contender.make()
    copies = rotation_length(sum(tensor.nbytes for tensor in first))
    buffers = [first, *(contender.make() for _ in range(copies - 1))]
    calls = [lambda held=held: contender.call(*held) for held in buffers]
    found = graph_samples_us(calls, samples)
    return {"p50": statistics.median(found), "samples": found}


def _by_name(kernels: tuple[Resources, ...], peak: Peak) -> dict[str, Resources]:
    return {one.kernel: one for one in kernels if one.architecture == peak.capability}


if __name__ == "__main__":
    main()
