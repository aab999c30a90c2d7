"""Measuring models: cost, size, and latency on targets; two of them paired, dense against pruned."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

import torch

from secateur.benchmarks.effort import Effort
from secateur.benchmarks.environment import Environment, command_line, environment
from secateur.benchmarks.flops import count_macs
from secateur.benchmarks.gating.ran import Ran, fallback, found_in
from secateur.benchmarks.gating.widths import cut_widths
from secateur.benchmarks.keys import latency_key, split_key
from secateur.benchmarks.modes.mode import Mode, mode_of, parse_mode, without_mode
from secateur.benchmarks.on_device import Found as There
from secateur.benchmarks.on_device import measure_there
from secateur.benchmarks.paired import PairedSamples, Samples, Stop
from secateur.benchmarks.results_file import BenchResult, Latency, Side
from secateur.benchmarks.runners import Goal, Subject, no_form
from secateur.benchmarks.sessions import Pair, measured, timed_alone
from secateur.core.errors import BenchError
from secateur.core.say import Say
from secateur.export.devices.device import Remote
from secateur.export.engine_info import ENGINE_FILE
from secateur.export.runner.machine import cpu_count
from secateur.export.runner.sensors.conditions import Conditions
from secateur.export.targets import TypedTarget, parse_typed_target

if TYPE_CHECKING:
    from secateur.export.capabilities import Ability

Found = TypeVar("Found", PairedSamples, Samples)
Place: TypeAlias = tuple[str, TypedTarget, int, Mode]  # key, goal, batch and mode

BUSY = 1.5
"""The load for each processor above which a machine counts as busy; this process alone can make it 1."""


@dataclass(frozen=True)
class Measured:
    """One model alone: the machine, its side, and why targets were left out."""

    environment: Environment
    side: Side
    skipped: Mapping[str, str]
    notes: tuple[str, ...]
    device: str = ""
    conditions: Mapping[str, Conditions] = field(default_factory=dict)


def bench_pair(
    dense: Subject,
    pruned: Subject,
    targets: Sequence[Goal],
    batches: Sequence[int] = (1,),
    effort: Effort | None = None,
    evaluation_images: int | None = None,
    say: Say = lambda message: None,
    remote: Remote | None = None,
) -> BenchResult:
    """Cost, size and latency of both, interleaved in each of several processes, on every target and batch that can run.

    A target may name the precision of the graphs to measure (`onnxruntime:cpu@fp16`). Raises `EngineError` for an
    unknown target or an engine that is broken, and `BenchError` where nothing at all could be measured; what was asked
    for and cannot run on this machine, or for which one side has no form, is in `skipped` with the reason.
    """
    effort = effort or Effort()
    goals = _checked(targets, batches)
    sides = [_side(subject, say) for subject in (dense, pruned)]

    def measure(places: Sequence[Place], effort: Effort) -> Mapping[str, PairedSamples | str]:
        pairs = [Pair(key, batch, ((dense, goal), (pruned, goal)), mode) for key, goal, batch, mode in places]
        return measured(pairs, effort, say)

    seen: Mapping[str, Conditions] = {}
    if remote is None:
        machine, found, skipped, notes = _each(goals, batches, (dense, pruned), effort, say, measure)
    else:
        there = measure_there(remote, (dense, pruned), goals, batches, effort, say)
        machine, notes, seen = there.environment, there.notes, there.conditions
        skipped = dict(there.skipped)
        found = {one.key: _Run(one.batch, _mode(one), _paired(one, effort)) for one in there.found}
    reached = {without_mode(split_key(key)[0]) for key in found}
    ran = [_ran(subject, goals, reached, remote is None) for subject in (dense, pruned)]
    sizes = [_sizes(subject, goals, reached) for subject in (dense, pruned)]
    of_dense = {key: run.latency(run.found.a_ms) for key, run in found.items()}
    of_pruned = {key: run.latency(run.found.b_ms) for key, run in found.items()}
    return BenchResult(
        environment=machine,
        dense=replace(sides[0], latency_ms=of_dense, ran=ran[0], sizes=sizes[0]),
        pruned=replace(sides[1], latency_ms=of_pruned, ran=ran[1], sizes=sizes[1]),
        widths=cut_widths(dense.module, pruned.module) if dense.module and pruned.module else {},
        speedup={key: run.found.interval(effort.seed) for key, run in found.items()},
        skipped=skipped,
        notes=(*_count_notes(*sides), *notes),
        evaluation_images=evaluation_images,
        command=command_line(),
        device=remote.device.name if remote else "",
        conditions=seen,
    )


def bench_one(
    subject: Subject,
    targets: Sequence[Goal],
    batches: Sequence[int] = (1,),
    effort: Effort | None = None,
    say: Say = lambda message: None,
    remote: Remote | None = None,
) -> Measured:
    """Cost, size and latency of one model; as `bench_pair`, without a comparison."""
    effort = effort or Effort()
    goals = _checked(targets, batches)
    side = _side(subject, say)

    def measure(places: Sequence[Place], effort: Effort) -> Mapping[str, Samples | str]:
        return {key: timed_alone(key, subject, goal, batch, mode, effort, say) for key, goal, batch, mode in places}

    if remote is None:
        machine, found, skipped, notes = _each(goals, batches, (subject,), effort, say, measure)
        latencies = {key: run.latency(run.found.ms) for key, run in found.items()}
        return Measured(machine, replace(side, latency_ms=latencies), skipped, (*_count_notes(side), *notes))
    there = measure_there(remote, (subject,), goals, batches, effort, say)
    latencies = {
        one.key: Latency.of(one.samples_ms[0], one.batch, str(_mode(one)), _stop_there(one, effort))
        for one in there.found
    }
    side, notes = replace(side, latency_ms=latencies), [*_count_notes(side), *there.notes]
    return Measured(there.environment, side, there.skipped, tuple(notes), remote.device.name, there.conditions)


@dataclass(frozen=True)
class _Run(Generic[Found]):
    """What was found for a batch in a mode."""

    batch: int
    mode: Mode
    found: Found

    def latency(self, samples: Sequence[float]) -> Latency:
        """One side of it."""
        processes = self.found.processes if isinstance(self.found, PairedSamples) else ()
        return Latency.of(samples, self.batch, str(self.mode), self.found.stopped, processes)


def _paired(one: There, effort: Effort) -> PairedSamples:
    dense_ms, pruned_ms = one.samples_ms
    return PairedSamples(dense_ms, pruned_ms, 0, True, _stop_there(one, effort), one.processes)


def _mode(one: There) -> Mode:
    return mode_of(split_key(one.key)[0])


def _stop_there(one: There, effort: Effort) -> Stop:
    """What ended a measurement on a device, which knows of no precision."""
    part = effort.part if one.processes else effort
    last = one.processes[-1] if one.processes else len(one.samples_ns[0])
    return "samples" if last + 2 > part.samples else "seconds"


def _each(
    goals: Sequence[TypedTarget],
    batches: Sequence[int],
    subjects: Sequence[Subject],
    effort: Effort,
    say: Say,
    measure: Callable[[Sequence[Place], Effort], Mapping[str, Found | str]],
) -> tuple[Environment, dict[str, _Run[Found]], dict[str, str], list[str]]:
    """The machine; by key what `measure` found; by key why something was left out; and notes.

    Raises `BenchError` with all reasons where everything was left out.
    """
    modes = [parse_mode(word) for word in effort.modes]
    skipped: dict[str, str] = {}
    notes = busy_notes()

    def skip(key: str, reason: str) -> None:
        skipped[key] = reason
        say(f"{key} is left out: {reason}")

    places = []
    for goal in goals:
        if reason := why_not(goal, *subjects):
            skip(str(goal), reason)
            continue
        for mode, batch in product(modes, batches):
            places.append((latency_key(mode.of(str(goal)), batch, batches), goal, batch, mode))
    effort = replace(effort, threads=effort.threads or torch.get_num_threads())
    answers = measure(places, effort)
    found: dict[str, _Run[Found]] = {}
    for key, goal, batch, mode in places:
        answer = answers[key]
        if isinstance(answer, str):
            skip(key, answer)
            continue
        found[key] = _Run(batch, mode, answer)
        notes += _warmup_notes(key, answer.settled, effort.part.warmup)
        notes += _goal_notes(goal, subjects[0])
    if not found:
        reasons = "; ".join(f"{key}: {reason}" for key, reason in skipped.items())
        raise BenchError(
            f"nothing was measured ({reasons}): name a target that this machine can run; `secateur doctor` lists them"
        )
    return environment(effort.threads), found, skipped, list(dict.fromkeys(notes))


def why_not(goal: Goal, *subjects: Subject) -> str:
    """One sentence on why `goal` cannot be measured here for these subjects; empty where it can."""
    goal = parse_typed_target(goal)
    for subject in subjects:
        if subject.form(goal) is None:
            return no_form(subject, goal)
    if str(goal.target) == "torch:cpu":
        return ""
    ability = _abilities().get(str(goal.target))
    if ability is None or ability.run:
        return ""
    return ability.advice or f"{goal.target} cannot run on this machine: see `secateur doctor`"


@cache
def _abilities() -> Mapping[str, Ability]:
    """What this machine can do on each target; it loads every runtime that is installed, so it is asked once."""
    from secateur.export.capabilities import examine

    return {ability.target: ability for ability in examine().targets}


def _checked(targets: Sequence[Goal], batches: Sequence[int]) -> list[TypedTarget]:
    goals = list(dict.fromkeys(parse_typed_target(target) for target in targets))
    if not goals:
        raise BenchError("no target was given: name at least one, such as onnxruntime:cpu")
    if not batches or min(batches) < 1 or len(set(batches)) != len(batches):
        raise BenchError(f"got the batch sizes {list(batches)}: give different sizes of 1 or more")
    return goals


def _ran(subject: Subject, goals: Sequence[TypedTarget], measured: Container[str], here: bool) -> dict[str, Ran]:
    """What the graphs and engines of a subject run in, by goal; of those not measured, where a runtime falls back."""
    found = {}
    for goal in goals:
        form = subject.form(goal)
        if not isinstance(form, Path):
            continue
        if str(goal) in measured:
            found[str(goal)] = found_in(form, goal, here, subject.graph(goal))
        elif here and (provider := fallback(form, goal)):
            found[str(goal)] = Ran(provider)
    return found


def _sizes(subject: Subject, goals: Sequence[TypedTarget], measured: Container[str]) -> dict[str, int]:
    """The bytes of the graph or engine that ran on each goal which was measured."""
    forms = {goal: subject.form(goal) for goal in goals if str(goal) in measured}
    return {
        str(goal): onnx_bytes(form) if goal.target.runtime == "onnxruntime" else form.stat().st_size
        for goal, form in forms.items()
        if isinstance(form, Path)
    }


def _side(subject: Subject, say: Say) -> Side:
    """Everything about a subject but its latency."""
    side = Side(name=subject.name, size_bytes=_size_bytes(subject), top1=subject.top1)
    if subject.module is None or subject.inputs is None:
        return side
    say(f"counting the MACs of {subject.name}")
    tensor = next(subject.module.parameters(), torch.empty(0))
    cost = count_macs(subject.module, subject.inputs.draw(1, 0, tensor.device, tensor.dtype))
    return replace(side, macs=cost.macs, params=cost.params, unsupported=cost.unsupported)


def _size_bytes(subject: Subject) -> int | None:
    if subject.size_bytes is not None:
        return subject.size_bytes
    if subject.onnx is not None:
        return onnx_bytes(subject.onnx)
    if subject.module is not None:
        tensors: list[torch.Tensor] = list(subject.module.state_dict().values())
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    return sum(path.stat().st_size for path in subject.engines.values() if path.is_file()) or None


def onnx_bytes(path: Path) -> int:
    """Bytes of an ONNX file and of the files that hold its weights."""
    from secateur.export.graph_types import external_files, read_graph

    return path.stat().st_size + sum((path.parent / name).stat().st_size for name in external_files(read_graph(path)))


def _count_notes(*sides: Side) -> list[str]:
    return [
        f"the MACs of {side.name} are a lower bound: not counted are {', '.join(side.unsupported)}"
        for side in sides
        if side.unsupported
    ]


def busy_notes() -> list[str]:
    """A note where others keep this machine busy: the load of the last minute is well above its processors."""
    load, cores = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0, cpu_count()
    if load <= BUSY * cores:
        return []
    return [f"the load was {load:.1f} on {cores} processors before measuring: others use this machine too"]


def _goal_notes(goal: TypedTarget, subject: Subject) -> list[str]:
    """What a reader should know of the times on a target: that its products are widened."""
    form = subject.form(goal)
    if goal.target.runtime != "onnxruntime" or not isinstance(form, Path):
        return []
    from secateur.export.ort_engine import widening

    said = widening(form / ENGINE_FILE if form.is_dir() else form, goal.target.device)
    return [f"{goal}: {said}"] if said else []


def _warmup_notes(key: str, settled: bool, seconds: float) -> list[str]:
    if settled:
        return []
    return [f"{key}: the times were still changing after {seconds:g} s of warm-up; the machine may be busy"]
