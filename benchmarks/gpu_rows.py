"""The rows of the GPU suite: what predictions and measurements both say of a problem, and whether the goals are met."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from secateur.benchmarks.gpu_problems import Cost, Problem, cost_of, problems
from secateur.benchmarks.roofline import Peak, roofline_us
from secateur.kernels.launch import image_for
from secateur.kernels.resources import Resources
from secateur.kernels.variants import DeviceLimits

KIND = "gpu_suite"


def predict(peaks: list[Peak], kernels: tuple[Resources, ...]) -> dict[str, Any]:
    """The content of a prediction: for each device and problem its cost and the least times. Nothing is measured."""
    rows = []
    for peak in peaks:
        own = resources_for(kernels, peak.capability)
        for problem in problems():
            rows.append({"device": peak.name, **described(problem, peak.limits, own, peak)})
    return {"mode": "prediction", "note": PREDICTION, "devices": [asdict(peak) for peak in peaks], "rows": rows}


PREDICTION = (
    "computed, not measured: bytes and arithmetic counted from the shapes, occupancy from the compiler's registers and "
    "shared memory, peaks from data sheets; roofline_us is a lower bound, launched_floor_us one for the work in whole "
    "tiles and whole waves of blocks"
)


def described(
    problem: Problem, limits: DeviceLimits, own: Mapping[str, Resources], peak: Peak | None
) -> dict[str, Any]:
    """What a prediction and a measurement both say of a problem; no least times where the peaks are not known."""
    launch, layout = problem.launch(limits), problem.layout
    cost = cost_of(problem, limits, own)
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
        **(_least_times(problem, cost, peak) if peak else {}),
    }


def _least_times(problem: Problem, cost: Cost, peak: Peak) -> dict[str, float]:
    capacity = cost.blocks_per_multiprocessor * peak.multiprocessors
    whole_waves = -(-cost.blocks // capacity) * capacity / cost.blocks
    launched = int(cost.launched_flops * whole_waves)
    return {
        "roofline_us": roofline_us(peak, problem.dtype, cost.bytes_moved, cost.flops),
        "padded_roofline_us": roofline_us(peak, problem.dtype, cost.padded_bytes_moved, cost.padded_flops),
        "launched_floor_us": roofline_us(peak, problem.dtype, cost.bytes_moved, launched),
    }


def resources_for(kernels: tuple[Resources, ...], capability: int) -> dict[str, Resources]:
    """The resources by kernel, of the architecture whose image a device of `capability` loads."""
    architecture, _ = image_for(capability)
    return {one.kernel: one for one in kernels if one.architecture == architecture}


def goals(rows: list[dict[str, Any]]) -> dict[str, bool | None]:
    """Whether the goals of the kernels are met by measured rows; None for one that no row speaks of.

    Uniform heads no slower than the best library path; mixed heads 1.5 times faster than padded; at batch 64 at least
    70 % of the roofline. A row counts where the kernel was right and has a time.
    """
    attention = [
        (row, row["times_us"]["ours"]["p50"])
        for row in rows
        if row["kernel"] == "ragged_attention" and row["dtype"] == "fp16" and row["checked"]
        and "p50" in row["times_us"]["ours"]
    ]  # fmt: skip

    def best(row: Mapping[str, Any], word: str) -> float:
        found = [time["p50"] for name, time in row["times_us"].items() if word in name and "p50" in time]
        return min(found, default=float("inf"))

    def every(found: list[bool]) -> bool | None:
        return all(found) if found else None

    return {
        "uniform heads no slower than the library": every(
            [time <= best(row, "padded") for row, time in attention if row["name"].startswith("uniform")]
        ),
        "mixed heads 1.5 times faster than padded": every(
            [1.5 * time <= best(row, "padded") for row, time in attention if row["name"] == "mixed 8-64"]
        ),
        "70 % of the roofline at batch 64": every(
            [row["roofline_us"] / time >= 0.7 for row, time in attention if row["rows"] == 64 and "roofline_us" in row]
        ),
    }
