"""Whether 8 bits pay on a target: its graph in 8 bits measured in turns with the fastest wider one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace

import torch

from secateur.benchmarks.bench import Effort
from secateur.benchmarks.paired import measure_pair
from secateur.benchmarks.results_file import BenchResult, Latency, Narrowed, latency_key
from secateur.benchmarks.runners import Subject, make_runner, torch_threads
from secateur.export.precision import EIGHT_BITS
from secateur.export.targets import TypedTarget

Say = Callable[[str], None]


def with_narrowed(
    result: BenchResult,
    subject: Subject,
    goals: Sequence[TypedTarget],
    batches: Sequence[int],
    effort: Effort,
    say: Say,
) -> BenchResult:
    """The result with a comparison for each of its 8-bit measurements of the pruned side, which is `subject`.

    Measurements of different precisions were not made in turns, so each is made anew beside the wider one with the
    least median; where there is none, nothing is compared. A precision that is not shown to be faster, by the whole of
    its 95 % interval, is not kept on that target. What was found is among the notes too.
    """
    medians = {key: latency.p50 for key, latency in result.pruned.latency_ms.items()}
    found = []
    for goal in goals:
        others = [one for one in goals if one.target == goal.target and one.precision not in EIGHT_BITS]
        for batch in batches if goal.precision in EIGHT_BITS else ():
            keys = {one: latency_key(str(one), batch, batches) for one in (goal, *others)}
            wider = [one for one in others if keys[one] in medians]
            if keys[goal] in medians and wider:
                wide = min((medians[keys[one]], str(one), one) for one in wider)[2]
                say(f"{goal}, batch {batch}: in turns with {wide.precision}")
                found.append(_compared(subject, goal, wide, batch, effort))
    return replace(result, narrowed=tuple(found), notes=(*result.notes, *(one.said for one in found)))


def _compared(subject: Subject, narrow: TypedTarget, wide: TypedTarget, batch: int, effort: Effort) -> Narrowed:
    with ExitStack() as stack:
        threads = effort.threads or torch.get_num_threads()
        stack.enter_context(torch_threads(threads))
        a, b = (
            stack.enter_context(closing(make_runner(subject, goal, batch, threads, effort.seed)))
            for goal in (wide, narrow)
        )
        found = measure_pair(a, b, effort.samples, effort.warmup, effort.seconds, effort.half_width, effort.seed)
    a_ms, b_ms = (Latency.of(samples, batch, stopped=found.stopped) for samples in (found.a_ms, found.b_ms))
    return Narrowed(str(narrow.target), narrow.precision, wide.precision, a_ms, b_ms, found.interval(effort.seed))
