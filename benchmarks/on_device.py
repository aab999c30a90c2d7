"""Latency on a device that is reached over ssh: the job that is sent there, and what comes back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from secateur.benchmarks.effort import Effort
from secateur.benchmarks.environment import Environment
from secateur.benchmarks.keys import latency_key
from secateur.benchmarks.modes.mode import Mode, parse_mode
from secateur.benchmarks.runners import Subject, no_form
from secateur.core.errors import BenchError
from secateur.core.files import read_json
from secateur.core.records import parse_record
from secateur.core.say import Say
from secateur.export.bundle.make import runner_files
from secateur.export.devices.device import Remote
from secateur.export.devices.jobs import Job, run_job
from secateur.export.devices.transfer import Source
from secateur.export.graph_types import external_files, read_graph
from secateur.export.machine import Gpu
from secateur.export.runner.bench import LEAST_BLOCKS
from secateur.export.runner.machine import Here
from secateur.export.runner.sensors.conditions import Conditions
from secateur.export.targets import Target, TypedTarget


@dataclass(frozen=True)
class Found:
    """One key: its batch, the times of each model in nanoseconds, and what the device was like.

    `processes` are the numbers of samples of each process, empty where there was one.
    """

    key: str
    batch: int
    samples_ns: tuple[tuple[int, ...], ...]
    conditions: Conditions
    processes: tuple[int, ...] = ()

    @property
    def samples_ms(self) -> list[tuple[float, ...]]:
        """The times of each model in milliseconds."""
        return [tuple(ns / 1e6 for ns in side) for side in self.samples_ns]


@dataclass(frozen=True)
class Answer:
    """What the device measured, with what it is; `skipped` says by key why something was left out."""

    machine: Here
    system: str
    architecture: str
    driver: str
    threads: int
    versions: Mapping[str, str]
    found: tuple[Found, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> Environment:
        """The device as the environment of a result."""
        here = self.machine
        return Environment(
            cpu_model=here.cpu_model,
            cores=here.cores,
            threads=self.threads,
            gpu=Gpu(here.gpu, here.capability, 0) if here.capability else None,
            driver=self.driver,
            os=self.system,
            machine=self.architecture,
            python=here.python,
            versions=dict(self.versions),
        )

    @property
    def conditions(self) -> dict[str, Conditions]:
        """What the device was like, by key."""
        return {one.key: one.conditions for one in self.found}

    @property
    def notes(self) -> list[str]:
        """What a reader should know of the numbers: what was held back, and what was not watched."""
        return [
            f"{key}: {sentence}"
            for key, seen in self.conditions.items()
            for sentence in (*seen.throttled, *seen.faults)
        ]


def measure_there(
    remote: Remote,
    subjects: Sequence[Subject],
    goals: Sequence[TypedTarget],
    batches: Sequence[int],
    effort: Effort,
    say: Say,
) -> Answer:
    """The times of one model or of two in turns on a device, for each goal, mode and batch that can run there.

    Two are timed over `effort.parts` processes of the device, one in a single one; threads None are all of the
    device's processors. Raises
    `DeviceError` where the device cannot be reached, and `BenchError` with all reasons where it measured nothing.
    """
    files: dict[str, Source] = dict(runner_files())
    skipped: dict[str, str] = {}
    asked: list[dict[str, Any]] = []
    for goal in goals:
        forms = [subject.form(goal) for subject in subjects]
        lacking = [no_form(subject, goal) for subject, form in zip(subjects, forms, strict=True) if form is None]
        if goal.target.runtime == "torch":
            lacking = [f"PyTorch is not used on devices: measure {goal} where secateur is installed"]
        if lacking:
            skipped[str(goal)] = lacking[0]
            continue
        models: list[str] = []
        for form in forms:
            assert isinstance(form, Path)  # for the type checker: only torch runs a module
            models.append(_add(files, form, goal, f"models/{len(asked)}/{len(models)}"))
        keys = []
        for mode in map(parse_mode, effort.modes):
            if reason := _why_not(mode, goal.target):
                skipped[mode.of(str(goal))] = reason
                continue
            keys += [(batch, latency_key(mode.of(str(goal)), batch, batches), str(mode)) for batch in batches]
        if keys:
            asked.append({"target": str(goal.target), "models": models, "keys": keys})
    if asked:
        files["job.json"] = json.dumps({**_settings(effort, len(subjects)), "goals": asked}).encode()
        job = Job(["{python}", "-m", "bundle_runner.on_device", "job.json", "out/found.json"], files, ("found.json",))
        with TemporaryDirectory() as folder:
            (path,) = run_job(remote.device, job, Path(folder), keep=remote.keep, say=say)
            where = f"the answer of {remote.device.name}"
            answer = parse_record(Answer, read_json(path, "on_device"), where, BenchError)
        check_samples(answer.found, {key for goal in asked for _, key, _ in goal["keys"]}, len(subjects), where)
        skipped.update(answer.skipped)
    if not asked or not answer.found:
        reasons = "; ".join(f"{key}: {reason}" for key, reason in skipped.items())
        raise BenchError(
            f"nothing was measured on {remote.device.name} ({reasons}): name a target that it can run; "
            f"`secateur device doctor {remote.device.name}` says what it has"
        )
    return Answer(**{**vars(answer), "skipped": skipped})


def _why_not(mode: Mode, target: Target) -> str:
    """One sentence on why a mode is not measured for a target on a device; empty where it is."""
    if mode.name == "graph":
        return "on a device over ssh no CUDA graph is captured: measure it where secateur is installed"
    if mode.name == "cold" and target.device != "cpu":
        return "on a device over ssh the caches of a CPU alone are overwritten: measure it where secateur is installed"
    return mode.why_not(target)


def _settings(effort: Effort, sides: int) -> dict[str, object]:
    """What a device is told of the effort: how many processes, and what each of them takes."""
    count = effort.parts if sides > 1 else 1
    part = effort.part if count > 1 else effort
    told = {"seconds": part.seconds, "samples": part.samples, "least": part.least_blocks, "processes": count}
    return {**told, "threads": effort.threads, "seed": effort.seed}


def check_samples(found: Sequence[Found], wanted: set[str], sides: int, where: str) -> None:
    """Raises `BenchError` for times that are of nothing that was asked for, too few, not above 0, or not in turns."""
    for one in found:
        counts = {len(samples) for samples in one.samples_ns}
        in_turn = sides == 1 or not any(count % 2 for count in counts)
        enough = len(one.samples_ns) == sides and len(counts) == 1 and min(counts) >= LEAST_BLOCKS and in_turn
        parted = not one.processes or (
            sum(one.processes) in counts and not any(count < 2 or count % 2 for count in one.processes)
        )
        enough = enough and parted
        if one.key not in wanted or not enough or any(min(samples) <= 0 for samples in one.samples_ns):
            raise BenchError(f"{where} has times of {one.key!r} that no comparison can be made of: update secateur")


def _add(files: dict[str, Source], form: Path, goal: TypedTarget, folder: str) -> str:
    """Adds a graph with the files of its weights, or an engine; returns its name on the device."""
    beside = external_files(read_graph(form)) if goal.target.runtime == "onnxruntime" else ()
    for name in (form.name, *beside):
        files[f"{folder}/{name}"] = form.parent / name
    return f"{folder}/{form.name}"
