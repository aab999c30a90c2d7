"""Measures models where no bundle is: `python -m bundle_runner.on_device JOB.json OUT.json`, for `bench --device`.

First the power of the idle device, then the times of one or two models in turns, in as many processes as the job asks
for, then each model alone for its energy, with the sensors read by a process beside it all the while.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Callable

import numpy as np

from .bench import Say, measure
from .errors import InferenceError, RunnerError, UnavailableError
from .machine import cpu_count, this_machine
from .modes import Timeable, in_mode
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
        for batch, key, mode in goal["keys"]:
            say(f"{key}: opening")
            try:
                runtime = goal["target"].partition(":")[0]
                versions[runtime] = str(import_runtime(runtime).__version__)
                asked = {**job, "threads": threads, "batch": batch, "mode": mode, **goal}
                parts, seen = _measured(asked, folder, _prefixed(say, key))
            except (RunnerError, SensorError) as error:
                skipped[key] = str(error)
                say(f"{key} is left out: {error}")
                continue
            samples = [[ns for part in parts for ns in part[side]] for side in range(len(goal["models"]))]
            counts = [len(part[0]) for part in parts] if len(parts) > 1 else []
            entry = {"key": key, "batch": batch, "samples_ns": samples, "processes": counts}
            found.append({**entry, "conditions": asdict(seen)})
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


def _measured(asked: dict[str, Any], folder: Path, say: Say) -> tuple[list[list[list[int]]], Conditions]:
    """The times of each model in nanoseconds by process, and what the device was like.

    Of two models the first is the reference.
    """
    with Watcher(INTERVAL) as watcher:
        counted = bool({POWER_W, ENERGY_J} & watcher.kinds) and asked["mode"] == "hot"  # of an image that comes alone
        idle = (time.monotonic(), 0.0)
        if counted:
            say("reading the power of the idle device")
            time.sleep(IDLE_S)
        idle = (idle[0], time.monotonic())
        start, count = time.monotonic(), asked["processes"]
        if count == 1:
            parts = [timed(asked, folder, False, say)]
        else:
            parts = [
                _in_process(asked, folder, index, _prefixed(say, f"process {index + 1} of {count}"))
                for index in range(count)
            ]
        loads = _loads(asked, folder, say) if counted else {}
        run = (start, time.monotonic())
        time.sleep(2 * INTERVAL)  # a reading after the run
    return parts, conditions(watcher.seen, idle, run, loads)


def timed(asked: dict[str, Any], folder: Path, turned: bool, say: Say) -> list[list[int]]:
    """The times of each model in this process; `turned` opens the second one first."""
    names = [*enumerate(asked["models"])]
    opened: dict[int, Timeable] = {}
    try:
        for place, name in reversed(names) if turned else names:
            opened[place] = in_mode(asked["mode"], partial(_open, asked, folder / name), partial(_feeds, asked))
        sides = [opened[place] for place, _ in names]
        one = sides[-1]
        dense = sides[0].call if len(sides) > 1 else None
        settings = (asked["seconds"], asked["samples"], say, asked["least"], one.before, one.runs)
        times = measure(one.call, dense, *settings)
    finally:
        for side in opened.values():
            side.close()
    found = [times.dense_ns, times.pruned_ns] if dense else [times.pruned_ns]
    return [list(side) for side in found]


def _in_process(asked: dict[str, Any], folder: Path, index: int, say: Say) -> list[list[int]]:
    """The times in a fresh process, which opens the models anew; every other one is turned."""
    with TemporaryDirectory() as place:
        order, answer = Path(place) / "order.json", Path(place) / "answer.json"
        order.write_text(json.dumps({**asked, "folder": str(folder), "turned": bool(index % 2)}), encoding="utf-8")
        say("measuring")
        words = [sys.executable, "-m", __spec__.name, str(order), str(answer)]
        done = subprocess.run(words, capture_output=True, text=True)
        if not answer.is_file():
            last = (done.stderr.strip().splitlines() or [f"code {done.returncode}"])[-1]
            raise InferenceError(f"a process that measured has ended without an answer ({last}): measure again")
        found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    if "error" in found:
        raise InferenceError(found["error"])
    sides: list[list[int]] = found["samples_ns"]
    return sides


def _answer(order: dict[str, Any]) -> dict[str, Any]:
    """What a process says that was asked for times; errors of ours travel back as their sentences."""
    try:
        return {"samples_ns": timed(order, Path(order["folder"]), order["turned"], lambda message: None)}
    except RunnerError as error:
        return {"error": str(error)}


def _loads(asked: dict[str, Any], folder: Path, say: Say) -> dict[str, tuple[float, float, int]]:
    """Each model alone for its energy, by its name where there are two: from when to when, and how many runs."""
    found = {}
    names = ("dense", "pruned") if len(asked["models"]) > 1 else ("",)
    for name, path in zip(names, asked["models"]):
        with _open(asked, folder / path) as model:
            call = model.prepare(_feeds(asked, model))
            say("measuring the energy" + (f" of the {name} model" if name else ""))
            found[name] = _alone(call)
    return found


def _open(asked: dict[str, Any], path: Path) -> Model:
    return open_model(path, asked["target"], asked["threads"])


def _feeds(asked: dict[str, Any], model: Model) -> dict[str, np.ndarray[Any, Any]]:
    return drawn(model, asked["batch"], asked["seed"])


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
    """Does the job in the first file and writes the second; an order of another process is one model or pair alone."""
    job = json.loads(Path(words[0]).read_text(encoding="utf-8"))
    found = (
        _answer(job)
        if "turned" in job
        else bench_job(job, Path(words[0]).resolve().parent, lambda text: print(text, flush=True))
    )
    Path(words[1]).write_text(json.dumps(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
