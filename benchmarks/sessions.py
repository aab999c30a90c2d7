"""What is timed in one go, here or in processes of its own (see `processes`): pairs of models on their targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

import torch

from secateur.benchmarks.effort import Effort
from secateur.benchmarks.modes.mode import HOT, Mode
from secateur.benchmarks.paired import PairedSamples, Samples, joined, measure_one, measure_pair
from secateur.benchmarks.processes import in_processes, prefixed
from secateur.benchmarks.runners import Subject, open_sides, torch_threads
from secateur.core.errors import BenchError, UnsupportedError
from secateur.core.say import Say
from secateur.export.targets import TypedTarget


@dataclass(frozen=True)
class Pair:
    """Two sides to be timed in turns under a key, each a subject on a goal, both in one mode."""

    key: str
    batch: int
    sides: tuple[tuple[Subject, TypedTarget], tuple[Subject, TypedTarget]]
    mode: Mode = HOT


Found: TypeAlias = PairedSamples | str
"""The times of a pair, or one sentence on why it cannot be timed here."""


def measured(pairs: Sequence[Pair], effort: Effort, say: Say) -> Mapping[str, Found]:
    """What was found of each pair by its key, over `effort.parts` processes; of one, in this process.

    A pair that cannot be timed in one of them is left out. Raises what opening a model raises, and `BenchError` where
    a process ends without an answer.
    """
    if not pairs:
        return {}
    if effort.parts > 1:
        effort = replace(effort, threads=effort.threads or torch.get_num_threads())
    parts = in_processes(effort.parts, partial(_all, pairs, effort.part), say)
    return {pair.key: _together([part[pair.key] for part in parts]) for pair in pairs}


def _all(pairs: Sequence[Pair], effort: Effort, say: Say, turned: bool) -> Mapping[str, Found]:
    return {pair.key: timed(pair, effort, say, turned) for pair in pairs}


def timed(pair: Pair, effort: Effort, say: Say, turned: bool = False) -> Found:
    """The times of a pair in this process, or why it cannot be timed; `turned` opens the second side first."""
    threads = effort.threads or torch.get_num_threads()
    with torch_threads(threads), ExitStack() as stack:
        sides = open_sides(pair.sides, pair.batch, threads, effort.seed, pair.mode, turned)
        try:
            a, b = stack.enter_context(sides)
        except (BenchError, UnsupportedError) as error:  # this batch, mode or types cannot be run here
            return str(error)
        return measure_pair(
            *(a, b, effort.samples, effort.warmup, effort.seconds, effort.half_width, effort.seed),
            say=prefixed(say, pair.key),
            least=effort.least_blocks,
        )


def timed_alone(
    key: str, subject: Subject, goal: TypedTarget, batch: int, mode: Mode, effort: Effort, say: Say
) -> Samples | str:
    """The times of one side in this process, or why it cannot be timed."""
    threads = effort.threads or torch.get_num_threads()
    with torch_threads(threads), ExitStack() as stack:
        try:
            (side,) = stack.enter_context(open_sides([(subject, goal)], batch, threads, effort.seed, mode))
        except (BenchError, UnsupportedError) as error:  # this batch, mode or types cannot be run here
            return str(error)
        return measure_one(
            *(side, effort.samples, effort.warmup, effort.seconds, effort.half_width, effort.seed),
            say=prefixed(say, key),
        )


def _together(parts: Sequence[Found]) -> Found:
    reasons = [part for part in parts if isinstance(part, str)]
    return reasons[0] if reasons else joined([part for part in parts if not isinstance(part, str)])
