"""Measures what a user has: models, run directories, ONNX files and engines, alone or beside a reference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import overload

from torch import nn

from secateur.benchmarks.bench import Measured, bench_one, bench_pair
from secateur.benchmarks.effort import Effort
from secateur.benchmarks.results_file import BenchResult
from secateur.benchmarks.runners import Subject
from secateur.core.input_spec import InputSpec
from secateur.core.model_inputs import ModelInputs
from secateur.core.say import Say
from secateur.export.devices.device import Remote
from secateur.export.targets import parse_typed_target
from secateur.pipeline.models.inputs import input_shape
from secateur.pipeline.runs.run_folder import is_run
from secateur.pipeline.runs.runner import trust_runs
from secateur.pipeline.runs.subjects import common_targets, open_subject, run_subjects, with_onnx

Measurable = nn.Module | str | Path
"""A model, or what names one on the command line: a timm name, a run directory, an .onnx or an .engine file."""


@overload
def bench(
    candidate: Measurable,
    against: Measurable,
    *,
    targets: Sequence[str] = (),
    batches: Sequence[int] = (1,),
    seconds: float = 10.0,
    threads: int | None = None,
    modes: Sequence[str] = ("hot",),
    samples: int | None = None,
    processes: int | None = None,
    example_input: ModelInputs | None = None,
    trust: bool = False,
    say: Say = ...,
) -> BenchResult: ...


@overload
def bench(
    candidate: Measurable,
    against: None = None,
    *,
    targets: Sequence[str] = (),
    batches: Sequence[int] = (1,),
    seconds: float = 10.0,
    threads: int | None = None,
    modes: Sequence[str] = ("hot",),
    samples: int | None = None,
    processes: int | None = None,
    example_input: ModelInputs | None = None,
    trust: bool = False,
    say: Say = ...,
) -> BenchResult | Measured: ...


def bench(
    candidate: Measurable,
    against: Measurable | None = None,
    *,
    targets: Sequence[str] = (),
    batches: Sequence[int] = (1,),
    seconds: float = 10.0,
    threads: int | None = None,
    modes: Sequence[str] = ("hot",),
    samples: int | None = None,
    processes: int | None = None,
    example_input: ModelInputs | None = None,
    trust: bool = False,
    say: Say = lambda message: None,
) -> BenchResult | Measured:
    """Cost, size and latency of a model, and `against` another one the speedup, both measured in turn.

    A run directory alone is its dense against its pruned model. `targets` are all that both can run on unless named;
    each target, batch and mode (`hot`, `cold`, `throughput:4`; see `benchmarks.modes`) is measured for at most
    `seconds`, until the result is precise or, where they are given, for so many `samples` of each side; two models over
    several `processes`, whose spread is in the interval.
    Modules that timm did not make need an `example_input` (a tensor, a tuple or a dictionary). Raises `BenchError`
    where nothing can be measured, and `RunError` for a run that would import code which this user never ran here,
    unless `trust` says that it may.

    >>> result = sc.bench(small, against=model, targets=["torch:cpu"], seconds=0.1)
    >>> print("times as fast, with the 95 % interval:", result.speedup["torch:cpu"])
    times as fast, with the 95 % interval: ... [..., ...]
    >>> result.pruned.macs < result.dense.macs
    True
    """
    if trust:
        trust_runs(candidate, against)
    if against is None and not isinstance(candidate, nn.Module) and is_run(Path(candidate)):
        subjects = list(run_subjects(Path(candidate)))
    else:
        named = [("candidate", candidate)] if against is None else [("reference", against), ("candidate", candidate)]
        subjects = [_subject(name, what, targets, example_input) for name, what in named]
    effort = Effort(seconds, threads=threads, modes=tuple(modes), processes=processes).exactly(samples)
    return measure(subjects, targets, batches, effort, say)[0]


def measure(
    subjects: Sequence[Subject],
    targets: Sequence[str],
    batches: Sequence[int],
    effort: Effort,
    say: Say,
    remote: Remote | None = None,
) -> list[BenchResult | Measured]:
    """One subject alone, or each further one against the first; what ONNX Runtime lacks is exported for the while.

    Without `targets`, those that all subjects can run on. With `remote` on that device, and not here.
    """
    goals = list(targets) or common_targets(subjects)
    if remote and not targets:
        goals = [goal for goal in goals if not goal.startswith("torch")] or ["onnxruntime:cpu"]
    for goal in goals:
        parse_typed_target(goal)  # before anything is exported
    with TemporaryDirectory() as folder:
        reference, *candidates = (with_onnx(subject, goals, Path(folder)) for subject in subjects)
        if not candidates:
            return [bench_one(reference, goals, batches, effort, say, remote)]
        return [bench_pair(reference, one, goals, batches, effort, say=say, remote=remote) for one in candidates]


def _subject(name: str, what: Measurable, targets: Sequence[str], example_input: ModelInputs | None) -> Subject:
    if not isinstance(what, nn.Module):
        return open_subject(str(what), targets)
    inputs = InputSpec.shaped(input_shape(what)) if example_input is None else InputSpec.of(example_input)
    return Subject(name, module=what, inputs=inputs)
