"""Times both sides of a run as a whole and layer by layer, in turns, over several processes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from secateur.benchmarks.effort import Effort
from secateur.benchmarks.layers.opened import open_profiled
from secateur.benchmarks.layers.operations import LayerTimes, Sampled, joined_times
from secateur.benchmarks.paired import PairedSamples, joined, measure_pair
from secateur.benchmarks.processes import in_processes
from secateur.benchmarks.runners import Subject, open_sides, torch_threads
from secateur.core.say import Say
from secateur.export.targets import TypedTarget

SAMPLE_MS = 2.0
"""A sample is made of so many milliseconds of runs, up to `REPEATS`."""
REPEATS = 10


@dataclass(frozen=True)
class Timing:
    """The times of both whole models without a profiler, and of their layers with it, their samples paired."""

    whole: PairedSamples
    sides: tuple[LayerTimes, LayerTimes]
    notes: tuple[str, ...]


def measure_layers(subjects: Sequence[Subject], goal: TypedTarget, batch: int, effort: Effort, say: Say) -> Timing:
    """The times of a dense and a pruned subject over `effort.parts` processes; raises what `open_profiled` does."""
    parts = in_processes(effort.parts, partial(_part, tuple(subjects), goal, batch, effort.part), say)
    dense, pruned = (joined_times([part.sides[side] for part in parts]) for side in (0, 1))
    notes = dict.fromkeys(note for part in parts for note in part.notes)
    return Timing(joined([part.whole for part in parts]), (dense, pruned), tuple(notes))


def _part(subjects: Sequence[Subject], goal: TypedTarget, batch: int, effort: Effort, say: Say, turned: bool) -> Timing:
    """What one process measures; `turned` opens the second side first."""
    with torch_threads(effort.threads or 1), TemporaryDirectory() as folder:
        say(f"timing the whole models on {goal}")
        with open_sides([(one, goal) for one in subjects], batch, effort.threads, effort.seed, turned=turned) as (a, b):
            whole = measure_pair(
                *(a, b, effort.samples, min(effort.warmup, effort.seconds), effort.seconds, effort.half_width),
                seed=effort.seed,
                least=effort.least_blocks,
            )
        say("timing their layers")
        return _with_layers(subjects, goal, batch, effort, whole, Path(folder), turned)


def _with_layers(
    subjects: Sequence[Subject],
    goal: TypedTarget,
    batch: int,
    effort: Effort,
    whole: PairedSamples,
    folder: Path,
    turned: bool,
) -> Timing:
    """The times of the layers of both sides, their samples paired, and what is to be known of them."""
    with ExitStack() as stack:
        places = range(len(subjects))
        opened = {
            place: stack.enter_context(
                closing(open_profiled(subjects[place], goal, batch, effort.threads, folder / str(place), effort.seed))
            )
            for place in (reversed(places) if turned else places)
        }
        one, two = (opened[place] for place in places)
        least = 2 * effort.least_blocks
        most = 2 * min(one.most_runs, two.most_runs) // 3  # of each side, one run in three is not timed
        wanted = ceil(SAMPLE_MS / float(np.median([*whole.a_ms, *whole.b_ms])))
        repeats = max(1, min(wanted, REPEATS, most // least))
        samples = max(least, min(effort.samples, most // repeats))
        a, b = Sampled(one, repeats), Sampled(two, repeats)
        # the whole models have warmed the machine, and no one layer says when all are precise
        found = measure_pair(
            *(a, b, samples, 0.0, effort.seconds, 0.0),
            seed=effort.seed,
            least=effort.least_blocks,
        )
        notes = tuple(dict.fromkeys((*one.notes, *two.notes)))
        return Timing(whole, (a.samples(len(found.a_ms)), b.samples(len(found.b_ms))), notes)
