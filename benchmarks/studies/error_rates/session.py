"""One process of a measurement: `python -m secateur_studies.error_rates.session OUT BLOCKS SEED NAME=PATH...`."""

from __future__ import annotations

import gc
import json
import sys
import time
from pathlib import Path

import numpy as np

from secateur.export.runner.bench import WARM_RUNS, ratio_interval
from secateur.export.runner.modes import Call
from secateur.export.runner.on_device import drawn
from secateur.export.runner.runtimes import open_model


def measure(calls: dict[str, Call], blocks: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """`[2 * blocks, 2]` nanoseconds of each side: of the clock and of the processor.

    The sides run in turns, in an order drawn for each block; one run that is not timed follows each change of side.
    """
    names = list(calls)
    found: dict[str, list[tuple[int, int]]] = {name: [] for name in names}
    for _ in range(blocks):
        for index in rng.permutation(len(names)):
            call, times = calls[names[index]], found[names[index]]
            call()
            for _ in range(2):
                start, own = time.perf_counter_ns(), time.process_time_ns()
                call()
                times.append((time.perf_counter_ns() - start, time.process_time_ns() - own))
    return {name: np.asarray(times, np.float64) for name, times in found.items()}


def summary(times: dict[str, np.ndarray]) -> dict[str, float]:
    """Milliseconds of each side, and of all but the reference the interval that this process alone would tell.

    `NAME median`, `NAME half` (the mean of the faster half), `NAME processor` (the median of the processor's time),
    `NAME low` and `NAME high`.
    """
    found: dict[str, float] = {}
    reference = times["reference"][:, 0]
    for name, both in times.items():
        clock = np.sort(both[:, 0])
        kinds = {
            "median": np.median(clock),
            "half": clock[: len(clock) // 2].mean(),
            "processor": np.median(both[:, 1]),
        }
        found.update({f"{name} {kind}": float(value) / 1e6 for kind, value in kinds.items()})
        if name != "reference":
            inside = ratio_interval(reference.tolist(), both[:, 0].tolist(), resamples=500)
            found.update({f"{name} low": inside.low, f"{name} high": inside.high})
    return found


def main(out: str, blocks: str, seed: str, *sides: str) -> None:
    """Opens the models in an order of its own, and writes the summary."""
    rng = np.random.default_rng(int(seed))
    paths = dict(side.split("=", 1) for side in sides)
    names = list(paths)
    models = {}
    for index in rng.permutation(len(names)):
        models[names[index]] = open_model(Path(paths[names[index]]), "onnxruntime:cpu", 1)
    calls = {name: model.prepare(drawn(model, 1, 0)) for name, model in models.items()}
    gc.disable()
    try:
        for _ in range(WARM_RUNS):
            for call in calls.values():
                call()
        times = measure(calls, int(blocks), rng)
    finally:
        gc.enable()
    Path(out).write_text(json.dumps(summary(times)))


if __name__ == "__main__":
    main(*sys.argv[1:])
