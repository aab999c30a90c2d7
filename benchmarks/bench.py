"""Measuring models: cost, size, and latency on targets; two of them paired, dense against pruned."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from secateur.benchmarks.environment import Environment, command_line, environment
from secateur.benchmarks.flops import count
from secateur.benchmarks.latency import Timed
from secateur.benchmarks.paired import measure_one, measure_pair
from secateur.benchmarks.results_file import BenchResult, Latency, Side, latency_key
from secateur.benchmarks.runners import Runner, Subject, make_runner, no_form, torch_threads
from secateur.core.errors import BenchError
from secateur.export.machine import cpu_count
from secateur.export.targets import Target, parse_target

if TYPE_CHECKING:
    from secateur.export.capabilities import Ability

Say = Callable[[str], None]

BUSY = 1.5
"""The load for each processor above which a machine counts as busy; this process alone can make it 1."""


@dataclass(frozen=True)
class Effort:
    """How long each target and batch is measured; see `paired.measure_pair`. `threads` None: PyTorch's number."""

    seconds: float = 10.0
    samples: int = 2000
    warmup: float = 2.0
    half_width: float = 0.01
    threads: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise BenchError(f"got {self.seconds} seconds: measure for more than 0, such as 10")
        if self.threads is not None and self.threads < 1:
            raise BenchError(f"got {self.threads} threads: measure with 1 or more")


@dataclass(frozen=True)
class Measured:
    """One model alone: the machine, its side, and why targets were left out."""

    environment: Environment
    side: Side
    skipped: Mapping[str, str]
    notes: tuple[str, ...]


def bench_pair(
    dense: Subject,
    pruned: Subject,
    targets: Sequence[str],
    batches: Sequence[int] = (1,),
    effort: Effort | None = None,
    evaluation_images: int | None = None,
    say: Say = lambda message: None,
) -> BenchResult:
    """Cost, size and latency of both, interleaved in this process, on every target and batch that can run here.

    Raises `EngineError` for an unknown target or an engine that is broken; a target whose runtime is not usable on
    this machine, or for which one side has no form, is in `skipped` with the reason.
    """
    effort = effort or Effort()
    goals = _checked(targets, batches)
    sides = [_side(subject, say) for subject in (dense, pruned)]
    latencies: tuple[dict[str, Latency], dict[str, Latency]] = ({}, {})
    speedup, skipped, notes = {}, {}, [*_count_notes(*sides), *busy_notes()]
    with _threads(effort) as threads:
        for goal in goals:
            reason = why_not(goal, dense, pruned)
            if reason:
                skipped[str(goal)] = reason
                say(f"{goal} is left out: {reason}")
                continue
            for batch in batches:
                key = latency_key(str(goal), batch, batches)
                with _ready((dense, pruned), goal, batch, threads, effort.seed) as (a, b):
                    found = measure_pair(
                        a,
                        b,
                        effort.samples,
                        effort.warmup,
                        effort.seconds,
                        effort.half_width,
                        effort.seed,
                        _prefixed(say, key),
                    )
                for side, samples in zip(latencies, (found.a_ms, found.b_ms), strict=True):
                    side[key] = Latency.of(samples, batch)
                speedup[key] = found.interval(effort.seed)
                notes += _warmup_notes(key, found.settled, effort.warmup)
        machine = environment(threads)
    return BenchResult(
        environment=machine,
        dense=replace(sides[0], latency_ms=latencies[0]),
        pruned=replace(sides[1], latency_ms=latencies[1]),
        speedup=speedup,
        skipped=skipped,
        notes=tuple(notes),
        evaluation_images=evaluation_images,
        command=command_line(),
    )


def bench_one(
    subject: Subject,
    targets: Sequence[str],
    batches: Sequence[int] = (1,),
    effort: Effort | None = None,
    say: Say = lambda message: None,
) -> Measured:
    """Cost, size and latency of one model; as `bench_pair`, without a comparison."""
    effort = effort or Effort()
    goals = _checked(targets, batches)
    side = _side(subject, say)
    latencies, skipped, notes = {}, {}, [*_count_notes(side), *busy_notes()]
    with _threads(effort) as threads:
        for goal in goals:
            reason = why_not(goal, subject)
            if reason:
                skipped[str(goal)] = reason
                continue
            for batch in batches:
                key = latency_key(str(goal), batch, batches)
                with _ready((subject,), goal, batch, threads, effort.seed) as (runner,):
                    found = measure_one(
                        runner,
                        effort.samples,
                        effort.warmup,
                        effort.seconds,
                        effort.half_width,
                        effort.seed,
                        _prefixed(say, key),
                    )
                latencies[key] = Latency.of(found.ms, batch)
                notes += _warmup_notes(key, found.settled, effort.warmup)
        machine = environment(threads)
    return Measured(machine, replace(side, latency_ms=latencies), skipped, tuple(notes))


def why_not(target: Target, *subjects: Subject) -> str:
    """One sentence on why `target` cannot be measured here for these subjects; empty where it can."""
    for subject in subjects:
        if subject.form(target) is None:
            return no_form(subject, target)
    if str(target) == "torch:cpu":
        return ""
    ability = _abilities().get(str(target))
    if ability is None or ability.run:
        return ""
    return ability.advice or f"{target} cannot run on this machine: see `secateur doctor`"


@cache
def _abilities() -> Mapping[str, Ability]:
    """What this machine can do on each target; it loads every runtime that is installed, so it is asked once."""
    from secateur.export.capabilities import examine

    return {ability.target: ability for ability in examine().targets}


def _checked(targets: Sequence[str], batches: Sequence[int]) -> list[Target]:
    goals = [parse_target(target) for target in dict.fromkeys(targets)]
    if not goals:
        raise BenchError("no target was given: name at least one, such as onnxruntime:cpu")
    if not batches or min(batches) < 1 or len(set(batches)) != len(batches):
        raise BenchError(f"got the batch sizes {list(batches)}: give different sizes of 1 or more")
    return goals


def _side(subject: Subject, say: Say) -> Side:
    """Everything about a subject but its latency."""
    side = Side(name=subject.name, size_bytes=_size_bytes(subject), top1=subject.top1)
    if subject.module is None or subject.input_shape is None:
        return side
    say(f"counting the MACs of {subject.name}")
    tensor = next(subject.module.parameters(), torch.empty(0))
    cost = count(subject.module, torch.zeros(1, *subject.input_shape, dtype=tensor.dtype, device=tensor.device))
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
    subjects: Sequence[Subject], target: Target, batch: int, threads: int, seed: int
) -> Iterator[tuple[Timed, ...]]:
    """Runners of all subjects, closed in the end whatever happens."""
    with ExitStack() as stack:
        made: list[Runner] = []
        for subject in subjects:
            made.append(stack.enter_context(closing(make_runner(subject, target, batch, threads, seed))))
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


def _warmup_notes(key: str, settled: bool, seconds: float) -> list[str]:
    if settled:
        return []
    return [f"{key}: the times were still changing after {seconds:g} s of warm-up; the machine may be busy"]
