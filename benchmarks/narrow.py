"""Whether 8 bits pay on a target: its graph in 8 bits measured in turns with the fastest wider one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from secateur.benchmarks.effort import Effort
from secateur.benchmarks.keys import latency_key
from secateur.benchmarks.paired import PairedSamples
from secateur.benchmarks.results_file import BenchResult, Latency, Narrowed
from secateur.benchmarks.runners import Subject
from secateur.benchmarks.sessions import Pair, measured
from secateur.core.errors import BenchError
from secateur.core.say import Say
from secateur.export.precision import EIGHT_BITS
from secateur.export.targets import TypedTarget


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
    pairs = []
    for goal in goals:
        others = [one for one in goals if one.target == goal.target and one.precision not in EIGHT_BITS]
        for batch in batches if goal.precision in EIGHT_BITS else ():
            keys = {one: latency_key(str(one), batch, batches) for one in (goal, *others)}
            wider = [one for one in others if keys[one] in medians]
            if keys[goal] in medians and wider:
                wide = min((medians[keys[one]], str(one), one) for one in wider)[2]
                say(f"{goal}, batch {batch}: in turns with {wide.precision}")
                pairs.append(Pair(keys[goal], batch, ((subject, wide), (subject, goal))))
    times = measured(pairs, effort, say)
    found = [_compared(pair, times[pair.key], effort) for pair in pairs]
    return replace(result, narrowed=tuple(found), notes=(*result.notes, *(one.said for one in found)))


def _compared(pair: Pair, found: PairedSamples | str, effort: Effort) -> Narrowed:
    if isinstance(found, str):
        raise BenchError(f"{pair.key} was measured, and could not be measured again: {found}")
    (_, wide), (_, narrow) = pair.sides
    wide_ms, narrow_ms = (
        Latency.of(ms, pair.batch, stopped=found.stopped, processes=found.processes) for ms in (found.a_ms, found.b_ms)
    )
    name = str(narrow.target)
    return Narrowed(name, narrow.precision, wide.precision, wide_ms, narrow_ms, found.interval(effort.seed))
