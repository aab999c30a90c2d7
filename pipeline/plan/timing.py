"""Times two models in turns on a target, here or on a device over ssh, for latency tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from secateur.benchmarks.bootstrap import Interval, ratio_interval
from secateur.benchmarks.effort import Effort
from secateur.benchmarks.environment import Environment
from secateur.benchmarks.on_device import measure_there
from secateur.benchmarks.paired import measure_pair
from secateur.benchmarks.runners import Subject, open_sides
from secateur.core.say import Say
from secateur.export.devices.device import Remote
from secateur.export.engines import build_engine
from secateur.export.targets import Target, TypedTarget

SAMPLES = 2000
"""At most so many runs of each model on a device."""


@dataclass(frozen=True)
class Saved:
    """What a model takes less than another one, which takes `base_ms`: the saving and its 95 % interval, in ms.

    `environment` is the device's where it was measured on one.
    """

    base_ms: float
    saved_ms: float
    low_ms: float
    high_ms: float
    environment: Environment | None = None


@dataclass(frozen=True)
class Timing:
    """How models are timed: on which target, how many images at once, in how many threads, each pair how long.

    With `remote` on that device, which builds the engines too, and not here.
    """

    target: Target
    batch: int
    threads: int | None
    seconds: float
    remote: Remote | None = None
    say: Say = lambda message: None

    def subject(self, graph: Path) -> Subject:
        """An ONNX graph in the form that the target runs; an engine is built beside it."""
        goal, folder = self.target, graph.with_suffix("")
        engines = {}
        if goal.needs_build:
            engines[str(goal)] = build_engine(graph, goal, folder, remote=self.remote, say=self.say).path
        return Subject(graph.stem, onnx=graph, engines=engines)

    def saved(self, one: Subject, other: Subject) -> Saved:
        """What the other takes less, both timed in turns."""
        if self.remote is not None:
            return self._saved_there(one, other, self.remote)
        with open_sides([(one, self.target), (other, self.target)], self.batch, self.threads) as (a, b):
            found = measure_pair(a, b, seconds=self.seconds, warmup=min(2.0, self.seconds))
        return _saved(float(np.median(found.a_ms)), found.interval())

    def _saved_there(self, one: Subject, other: Subject, remote: Remote) -> Saved:
        effort = Effort(self.seconds, SAMPLES, threads=self.threads, processes=1)
        goals, batches = [TypedTarget(self.target)], [self.batch]
        there = measure_there(remote, (one, other), goals, batches, effort, self.say)
        a_ms, b_ms = there.found[0].samples_ms
        return _saved(float(np.median(a_ms)), ratio_interval(a_ms, b_ms), there.environment)


def _saved(base_ms: float, ratio: Interval, environment: Environment | None = None) -> Saved:
    """The saving that a ratio of times says."""
    saved, low, high = (base_ms * (1 - 1 / value) for value in (ratio.ratio, ratio.low, ratio.high))
    return Saved(base_ms, saved, low, high, environment)
