"""An engine that is built on a device: what is sent there, and what comes back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from secateur.core.errors import DeviceError
from secateur.core.files import read_json
from secateur.core.records import parse_record
from secateur.core.say import Say
from secateur.export.bundle.make import runner_files
from secateur.export.devices.device import Remote
from secateur.export.devices.jobs import Job, run_job
from secateur.export.devices.transfer import Source
from secateur.export.runner.build_here import ENGINE, LAYERS, OPTIMISED
from secateur.export.runner.sensors.conditions import Conditions
from secateur.export.runner.tensors import TensorInfo


@dataclass(frozen=True)
class BuiltThere:
    """With what the device built, for what, what goes in and comes out, where the runtime says it, and how it was."""

    version: str
    platform: str
    capability: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    conditions: Conditions


def build_there(
    remote: Remote,
    graph: Path,
    beside: tuple[str, ...],
    target: str,
    profile: tuple[int, int, int],
    tf32: bool,
    out: Path,
    say: Say,
) -> BuiltThere:
    """Builds the engine of a graph on a device; the files of `runner.build_here` arrive whole in the folder `out`.

    `beside` are the files of the graph's weights, `profile` the smallest, the usual and the largest batch. Raises
    `DeviceError` where the device cannot be reached or does not build it.
    """
    files: dict[str, Source] = dict(runner_files())
    files.update({f"graph/{name}": graph.parent / name for name in (graph.name, *beside)})
    settings = {"target": target, "graph": f"graph/{graph.name}", "profile": profile, "tf32": tf32}
    files["job.json"] = json.dumps(settings).encode()
    results = (OPTIMISED,) if target.startswith("onnxruntime") else (ENGINE, LAYERS)
    job = Job(["{python}", "-m", "bundle_runner.build_here", "job.json", "out"], files, ("built.json", *results))
    run_job(remote.device, job, out, keep=remote.keep, say=say)
    where = f"the answer of {remote.device.name}"
    return parse_record(BuiltThere, read_json(out / "built.json", "build_here"), where, DeviceError)
