"""Measuring again what is inconclusive, a bounded number of times, at the error rate of a single look.

Each look at samples that grow is a chance to be wrong, so the looks share the 5 %: each of `1 + retries` is at a level
of 1 - 0.05 / (1 + retries) (Bonferroni). The samples of all tries count, and nothing is picked: a check that fails, or
passes, is never measured again for its own sake.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from secateur.benchmarks.bootstrap import Interval, ratio_interval
from secateur.benchmarks.checks import Place
from secateur.benchmarks.gate import Verdict, judge
from secateur.benchmarks.keys import split_key
from secateur.benchmarks.limits import Limits
from secateur.benchmarks.results_file import BenchResult, Latency, Narrowed, Side
from secateur.core.errors import BenchError

ERROR = 0.05
"""What all looks share."""
OF_LATENCY = frozenset({"speedup", "relative", "drift", "latency", "p90", "p99", "8 bits"})
"""The checks that more samples can decide."""
Again = Callable[[Sequence[Place]], BenchResult]
"""What measures these targets and batches again, and may measure others beside."""


def judge_with_retries(
    candidate: BenchResult,
    baseline: BenchResult | None,
    limits: Limits,
    again: Again,
    retries: int,
    fidelity: Sequence[float] = (),
) -> Verdict:
    """The verdict after at most `retries` further measurements of what is inconclusive; see `gate.judge`."""
    level, tries = 1 - ERROR / (1 + retries), 1
    verdict = judge(candidate, baseline, limits, level=level, fidelity=fidelity)
    while tries <= retries and (places := undecided(verdict)):
        candidate = pooled(candidate, again(places))
        verdict = judge(candidate, baseline, limits, level=level, fidelity=fidelity)
        tries += 1
    return replace(verdict, tries=tries)


def undecided(verdict: Verdict) -> tuple[Place, ...]:
    """The targets and batches whose latency checks are inconclusive; none where a failure decides already."""
    if verdict.outcome != "inconclusive":
        return ()
    open_ = (check for check in verdict.checks if check.outcome == "inconclusive" and check.name in OF_LATENCY)
    return tuple(dict.fromkeys((check.target, check.batch) for check in open_ if check.target and check.batch))


def pooled(first: BenchResult, more: BenchResult) -> BenchResult:
    """The first result with the samples of the second one after its own, and what either says of its conditions."""
    if (first.dense.macs, first.pruned.macs) != (more.dense.macs, more.pruned.macs):
        raise BenchError("what was measured again are other models than before: do `secateur bench` anew")
    keys = {place: key for key, place in _places(more.dense.latency_ms).items()}
    matched = {key: keys[place] for key, place in _places(first.dense.latency_ms).items() if place in keys}
    dense, pruned = (_appended(getattr(first, side), getattr(more, side), matched) for side in ("dense", "pruned"))
    found = {
        key: _interval(dense.latency_ms[key], pruned.latency_ms[key]) if key in matched else interval
        for key, interval in first.speedup.items()
    }
    conditions = dict(first.conditions)
    for key, other in matched.items():
        if key in conditions and other in more.conditions:
            before, after = conditions[key], more.conditions[other]
            held, faults = before.throttled + after.throttled, before.faults + after.faults
            conditions[key] = replace(before, throttled=held, faults=faults)
    narrowed = tuple(_narrowed(one, more.narrowed) for one in first.narrowed)
    former = {one.said for one in (*first.narrowed, *more.narrowed)}  # of fewer samples
    notes = [note for note in (*first.notes, *more.notes) if note not in former]
    return replace(
        first,
        dense=dense,
        pruned=pruned,
        speedup=found,
        narrowed=narrowed,
        notes=tuple(dict.fromkeys((*notes, *(one.said for one in narrowed)))),
        conditions=conditions,
    )


def _places(latencies: Mapping[str, Latency]) -> dict[str, Place]:
    return {key: (split_key(key)[0], one.batch) for key, one in latencies.items()}


def _appended(first: Side, more: Side, matched: Mapping[str, str]) -> Side:
    joined = {key: _joined(first.latency_ms[key], more.latency_ms[other]) for key, other in matched.items()}
    return replace(first, latency_ms={**first.latency_ms, **joined})


def _joined(first: Latency, more: Latency) -> Latency:
    """The samples of both, process by process; of one process each, as of one."""
    processes: tuple[int, ...] = ()
    if first.processes or more.processes:
        processes = tuple(count for one in (first, more) for count in one.processes or (len(one.samples),))
    return Latency.of(first.samples + more.samples, first.batch, first.mode, more.stopped, processes)


def _interval(dense: Latency, pruned: Latency) -> Interval:
    return ratio_interval(dense.samples, pruned.samples, processes=dense.processes)


def _narrowed(one: Narrowed, others: Sequence[Narrowed]) -> Narrowed:
    """A comparison of two precisions with the samples of the same one."""
    for other in others:
        if _what(one) == _what(other):
            wide, narrow = _joined(one.wide_ms, other.wide_ms), _joined(one.narrow_ms, other.narrow_ms)
            return replace(one, wide_ms=wide, narrow_ms=narrow, speedup=_interval(wide, narrow))
    return one


def _what(one: Narrowed) -> tuple[str, str, str, int]:
    return one.target, one.precision, one.wider, one.wide_ms.batch
