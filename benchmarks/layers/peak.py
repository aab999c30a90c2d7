"""The roofline of a target: one big product and one copy through its own runtime, or the data sheet of a GPU."""

from __future__ import annotations

from contextlib import closing
from math import prod
from pathlib import Path
from time import perf_counter

import numpy as np

from secateur.benchmarks.layers.alone import GRAPHS, Alone
from secateur.benchmarks.layers.layers_file import Roofline
from secateur.benchmarks.layers.opened import open_profiled
from secateur.benchmarks.roofline import PEAKS
from secateur.benchmarks.runners import make_runner
from secateur.export.targets import TypedTarget

PRODUCT = Alone("MatMul", (1024, 1024), (1024, 1024))
"""A product that is limited by arithmetic alone: 170 MACs for each byte."""

COPY = Alone("Neg", (2**25,))
"""Reads and writes 128 MiB each, more than caches hold."""

NOTHING = Alone("MatMul", (1, 8), (8, 8))
"""A layer with next to nothing to do."""

FLOOR_RUNS = 30


def roofline_of(
    goal: TypedTarget,
    gpu: str,
    threads: int | None,
    seconds: float,
    folder: Path,
    product: Alone = PRODUCT,
    copy: Alone = COPY,
) -> Roofline:
    """What `goal` can do at best, each part measured for `seconds`; `folder` takes the files.

    The arithmetic and the memory of a GPU called `gpu` are those of its data sheet, where that is known. A `product`
    and a `copy` are timed otherwise, in fp32 where a graph of one layer cannot be written in the goal's precision, and
    the best run counts. The floor is measured always.
    """
    own = goal if goal.precision in GRAPHS else TypedTarget(goal.target)
    floor = floor_ms(own, threads, folder)
    sheet = next((peak for peak in PEAKS if peak.name == gpu), None)
    if goal.target.device != "cpu" and sheet is not None:
        wide = goal.precision == "fp32"
        flops = sheet.fp32_flops_per_second if wide else sheet.tensor_flops_per_second
        units = "fp32" if wide else "16-bit tensor cores"
        return Roofline(flops / 2, sheet.bytes_per_second, f"the data sheet of {gpu}, {units}", floor)
    bits = 2 if own.precision == "fp16" else 4
    macs_per_s = product.macs / best_s(product, own, threads, seconds, folder)
    bytes_per_s = 2 * bits * prod(copy.shape) / best_s(copy, own, threads, seconds, folder)
    source = f"measured on {own}: a product of {'x'.join(map(str, (*product.shape, product.weight[1])))} and a copy of "
    return Roofline(macs_per_s, bytes_per_s, f"{source}{bits * prod(copy.shape) / 2**20:.4g} MiB", floor)


def best_s(layer: Alone, goal: TypedTarget, threads: int | None, seconds: float, folder: Path) -> float:
    """The seconds of the fastest run of a layer alone; three are made at least, for `seconds` in all."""
    found: list[float] = []
    with closing(make_runner(layer.subject(goal, folder), goal, 1, threads)) as runner:
        start = perf_counter()
        while len(found) < 3 or perf_counter() - start < seconds:
            found.append(runner.clock.time_ms(runner.run) / 1e3)
    return min(found)


def floor_ms(goal: TypedTarget, threads: int | None, folder: Path) -> float:
    """The median milliseconds of a layer with next to nothing to do, by the profiler that times all layers."""
    subject = NOTHING.subject(goal, folder)
    with closing(open_profiled(subject, goal, 1, threads, folder / "floor")) as profiled:
        with profiled.recording():
            for _ in range(FLOOR_RUNS):
                profiled.run()
        times = profiled.finish()
    return float(np.median(times.ms[FLOOR_RUNS // 3 :].max(1)))
