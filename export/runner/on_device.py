"""Measures models where no bundle is: `python -m bundle_runner.on_device JOB.json OUT.json`, for `bench --device`.

First the power of the idle device, then the times of one or two models in turns, then each model alone for its energy,
with the sensors read by a process beside it all the while.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Callable

import numpy as np

from .bench import Say, measure
from .errors import RunnerError, UnavailableError
from .machine import cpu_count, this_machine
from .runtimes import Model, import_runtime, open_model
from .sensors.conditions import Conditions, conditions
from .sensors.probe import ENERGY_J, POWER_W, SensorError
from .sensors.watcher import INTERVAL, Watcher
from .tensors import DYNAMIC

SCHEMA = "secateur.on_device/1"
IDLE_S = 5.0
LOAD_S = 5.0
"""Seconds of idling, and of each model alone, where power can be read: 50 readings each."""


def bench_job(job: dict[str, Any], folder: Path, say: Say) -> dict[str, Any]:
    """Times and conditions for each goal and batch of a job, whose models lie in `folder`; what failed, and why."""
    threads = job["threads"] or cpu_count()
    found: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    versions: dict[str, str] = {"numpy": np.__version__}
    for goal in job["goals"]:
        for batch, key in goal["keys"]:
            say(f"{key}: opening")
            try:
                runtime = goal["target"].partition(":")[0]
                versions[runtime] = str(import_runtime(runtime).__version__)
                paths = [folder / name for name in goal["models"]]
                samples, seen = _measured(paths, goal["target"], batch, threads, job, _prefixed(say, key))
            except (RunnerError, SensorError) as error:
                skipped[key] = str(error)
                say(f"{key} is left out: {error}")
                continue
            found.append({"key": key, "batch": batch, "samples_ns": samples, "conditions": asdict(seen)})
    return {
        "schema": SCHEMA,
        "machine": asdict(this_machine()),
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "driver": _driver(),
        "threads": threads,
        "versions": versions,
        "found": found,
        "skipped": skipped,
    }


def _measured(
    paths: list[Path], target: str, batch: int, threads: int, job: dict[str, Any], say: Say
) -> tuple[list[list[int]], Conditions]:
    """The times of each model in nanoseconds, the first of two being the reference, and what the device was like."""
    with Watcher(INTERVAL) as watcher:
        counted = bool({POWER_W, ENERGY_J} & watcher.kinds)
        idle = (time.monotonic(), 0.0)
        if counted:
            say("reading the power of the idle device")
            time.sleep(IDLE_S)
        idle = (idle[0], time.monotonic())
        models = [open_model(path, target, threads) for path in paths]
        try:
            calls = [model.prepare(drawn(model, batch, job["seed"])) for model in models]
            start = time.monotonic()
            pair = calls[0] if len(calls) > 1 else None
            times = measure(calls[-1], pair, job["seconds"], job["samples"], say)
            loads = {}
            for name, call in zip(("dense", "pruned") if pair else ("",), calls) if counted else ():
                say("measuring the energy" + (f" of the {name} model" if name else ""))
                loads[name] = _alone(call)
            run = (start, time.monotonic())
        finally:
            for model in models:
                model.close()
        time.sleep(2 * INTERVAL)  # a reading after the run
    sides = [times.dense_ns, times.pruned_ns] if pair else [times.pruned_ns]
    return [list(side) for side in sides], conditions(watcher.seen, idle, run, loads)


def _prefixed(say: Say, key: str) -> Say:
    return lambda message: say(f"{key}: {message}")


def _alone(call: Callable[[], None]) -> tuple[float, float, int]:
    """Runs a model again and again: from when to when, and how often."""
    start, count = time.monotonic(), 0
    while time.monotonic() - start < LOAD_S:
        call()
        count += 1
    return start, time.monotonic(), count


def drawn(model: Model, batch: int, seed: int) -> dict[str, np.ndarray[Any, Any]]:
    """Inputs of a batch: normal numbers, and zeros where whole numbers are wanted, which are in every range."""
    rng = np.random.default_rng(seed)
    found = {}
    for tensor in model.inputs:
        shape = [batch if size == DYNAMIC else size for size in tensor.shape]
        values = rng.standard_normal(shape) if tensor.dtype.startswith("float") else np.zeros(shape)
        found[tensor.name] = values.astype(tensor.dtype)
    if not any(array.shape[:1] == (batch,) for array in found.values()):
        takes = ", ".join(str(tensor) for tensor in model.inputs)
        raise UnavailableError(f"a batch of {batch} was asked for, but the model takes {takes} only")
    return found


def _driver() -> str:
    """The version of NVIDIA's kernel module; empty without one."""
    path = Path("/sys/module/nvidia/version")
    return path.read_text().strip() if path.exists() else ""


def main(words: list[str]) -> None:
    """Does the job in the first file and writes the second."""
    job = json.loads(Path(words[0]).read_text(encoding="utf-8"))
    found = bench_job(job, Path(words[0]).resolve().parent, lambda text: print(text, flush=True))
    Path(words[1]).write_text(json.dumps(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
