"""Measuring models: cost, size, and latency on targets; two of them paired, dense against pruned."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import torch

from secateur.benchmarks.environment import Environment, command_line, environment
from secateur.benchmarks.flops import count_macs
from secateur.benchmarks.latency import Timed
from secateur.benchmarks.modes.mode import HOT, Mode, parse_mode
from secateur.benchmarks.on_device import Found as There
from secateur.benchmarks.on_device import measure_there
from secateur.benchmarks.paired import LEAST_BLOCKS, PairedSamples, Samples, Stop, measure_one, measure_pair
from secateur.benchmarks.results_file import BenchResult, Latency, Side, latency_key
from secateur.benchmarks.runners import Goal, Subject, make_runner, no_form, torch_threads
from secateur.core.errors import BenchError, UnsupportedError
from secateur.export.devices.device import Remote
from secateur.export.engine_info import ENGINE_FILE
from secateur.export.runner.machine import cpu_count
from secateur.export.runner.sensors.conditions import Conditions
from secateur.export.targets import TypedTarget, parse_typed_target

if TYPE_CHECKING:
    from secateur.export.capabilities import Ability

Say = Callable[[str], None]
Found = TypeVar("Found", PairedSamples, Samples)

BUSY = 1.5
"""The load for each processor above which a machine counts as busy; this process alone can make it 1."""


@dataclass(frozen=True)
class Effort:
    """How long each target, mode and batch is measured; see `paired.measure_pair`. `threads` None: PyTorch's number.

    `modes` are words of `modes.mode`, such as `hot`, `cold` or `throughput:4`.
    """

    seconds: float = 10.0
    samples: int = 2000
    warmup: float = 2.0
    half_width: float = 0.01
    threads: int | None = None
    seed: int = 0
    modes: tuple[str, ...] = ("hot",)

    def __post_init__(self) -> None:
        if not self.modes or len(set(self.modes)) < len(self.modes):
            raise BenchError(f"got the modes {list(self.modes)}: give one or more, each once, such as hot")
        for word in self.modes:
            parse_mode(word)
        if not self.seconds > 0:
            raise BenchError(f"got {self.seconds} seconds: measure for more than 0, such as 10")
        if self.threads is not None and self.threads < 1:
            raise BenchError(f"got {self.threads} threads: measure with 1 or more")
        if self.samples < 2 * LEAST_BLOCKS:
            raise BenchError(f"got {self.samples} samples: measure {2 * LEAST_BLOCKS} or more")

    def exactly(self, samples: int | None) -> Effort:
        """The same with so many samples, however precise they are, within the seconds; None: as it is."""
        return self if samples is None else replace(self, samples=samples, half_width=0.0)


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
    """Cost, size and latency of both, interleaved in one process, on every target and batch that can run there.

    A target may name the precision of the graphs to measure (`onnxruntime:cpu@fp16`). Raises `EngineError` for an
    unknown target or an engine that is broken, and `BenchError` where nothing at all could be measured; what was asked
    for and cannot run on this machine, or for which one side has no form, is in `skipped` with the reason.
    """
    effort = effort or Effort()
    goals = _checked(targets, batches)
    sides = [_side(subject, say) for subject in (dense, pruned)]

    def measure(runners: Sequence[Timed], say: Say) -> PairedSamples:
        a, b = runners
        return measure_pair(a, b, effort.samples, effort.warmup, effort.seconds, effort.half_width, effort.seed, say)

    seen: Mapping[str, Conditions] = {}
    if remote is None:
        machine, found, skipped, notes = _each(goals, batches, (dense, pruned), effort, say, measure)
    else:
        there = measure_there(remote, (dense, pruned), goals, batches, _settings(effort), say)
        machine, skipped, notes, seen = there.environment, dict(there.skipped), there.notes, there.conditions
        found = {one.key: _Run(one.batch, HOT, _paired(one, effort)) for one in there.found}
    return BenchResult(
        environment=machine,
        dense=replace(sides[0], latency_ms={key: run.latency(run.found.a_ms) for key, run in found.items()}),
        pruned=replace(sides[1], latency_ms={key: run.latency(run.found.b_ms) for key, run in found.items()}),
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

    def measure(runners: Sequence[Timed], say: Say) -> Samples:
        (runner,) = runners
        return measure_one(runner, effort.samples, effort.warmup, effort.seconds, effort.half_width, effort.seed, say)

    if remote is None:
        machine, found, skipped, notes = _each(goals, batches, (subject,), effort, say, measure)
        latencies = {key: run.latency(run.found.ms) for key, run in found.items()}
        return Measured(machine, replace(side, latency_ms=latencies), skipped, (*_count_notes(side), *notes))
    there = measure_there(remote, (subject,), goals, batches, _settings(effort), say)
    latencies = {
        one.key: Latency.of(one.samples_ms[0], one.batch, stopped=_stop_there(one, effort)) for one in there.found
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
        return Latency.of(samples, self.batch, str(self.mode), self.found.stopped)


def _paired(one: There, effort: Effort) -> PairedSamples:
    dense_ms, pruned_ms = one.samples_ms
    return PairedSamples(dense_ms, pruned_ms, warmup_rounds=0, settled=True, stopped=_stop_there(one, effort))


def _stop_there(one: There, effort: Effort) -> Stop:
    """What ended a measurement on a device, which knows of no precision."""
    return "samples" if len(one.samples_ns[0]) + 2 > effort.samples else "seconds"


def _settings(effort: Effort) -> dict[str, object]:
    """What a device is told of the effort; raises `BenchError` for modes that are not measured there."""
    if effort.modes != (str(HOT),):
        raise BenchError(
            f"the modes {', '.join(effort.modes)} were asked for, but on a device over ssh latency is measured hot: "
            "leave the modes out, or measure where secateur is installed"
        )
    return {name: getattr(effort, name) for name in ("seconds", "samples", "threads", "seed")}


def _each(
    goals: Sequence[TypedTarget],
    batches: Sequence[int],
    subjects: Sequence[Subject],
    effort: Effort,
    say: Say,
    measure: Callable[[Sequence[Timed], Say], Found],
) -> tuple[Environment, dict[str, _Run[Found]], dict[str, str], list[str]]:
    """The machine; by key what `measure` found; by key why something was left out; and notes.

    Raises `BenchError` with all reasons where everything was left out.
    """
    found: dict[str, _Run[Found]] = {}
    modes = [parse_mode(word) for word in effort.modes]
    skipped: dict[str, str] = {}
    notes = busy_notes()

    def skip(key: str, reason: str) -> None:
        skipped[key] = reason
        say(f"{key} is left out: {reason}")

    with _threads(effort) as threads:
        for goal in goals:
            if reason := why_not(goal, *subjects):
                skip(str(goal), reason)
                continue
            measured = []
            for mode, batch in product(modes, batches):
                key = latency_key(mode.of(str(goal)), batch, batches)
                with ExitStack() as stack:
                    try:
                        runners = stack.enter_context(_ready(subjects, goal, batch, threads, effort.seed, mode))
                    except (BenchError, UnsupportedError) as error:  # this batch, mode or types cannot be run here
                        skip(key, str(error))
                        continue
                    one = measure(runners, _prefixed(say, key))
                found[key] = _Run(batch, mode, one)
                measured.append(key)
                notes += _warmup_notes(key, one.settled, effort.warmup)
            if measured:
                notes += _goal_notes(goal, subjects[0])
        machine = environment(threads)
    if not found:
        reasons = "; ".join(f"{key}: {reason}" for key, reason in skipped.items())
        raise BenchError(
            f"nothing was measured ({reasons}): name a target that this machine can run; `secateur doctor` lists them"
        )
    return machine, found, skipped, notes


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


@contextmanager
def _threads(effort: Effort) -> Iterator[int]:
    threads = effort.threads or torch.get_num_threads()
    with torch_threads(threads):
        yield threads


@contextmanager
def _ready(
    subjects: Sequence[Subject], goal: TypedTarget, batch: int, threads: int, seed: int, mode: Mode
) -> Iterator[tuple[Timed, ...]]:
    """Runners of all subjects, closed in the end whatever happens."""
    with ExitStack() as stack:
        made: list[Timed] = []
        for subject in subjects:
            runner = make_runner(subject, goal, batch, threads, seed, mode)
            made.append(stack.enter_context(closing(runner)))
        yield tuple(made)


def _prefixed(say: Say, key: str) -> Say:
    return lambda message: say(f"{key}: {message}")


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
