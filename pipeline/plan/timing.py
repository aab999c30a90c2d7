"""Times two models in turns on a target, for latency tables."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from secateur.benchmarks.paired import measure_pair
from secateur.benchmarks.runners import Subject, make_runner
from secateur.export.engines import build_engine
from secateur.export.targets import Target


@dataclass(frozen=True)
class Saved:
    """What a model takes less than another one, which takes `base_ms`: the saving and its 95 % interval, in ms."""

    base_ms: float
    saved_ms: float
    low_ms: float
    high_ms: float


@dataclass(frozen=True)
class Timing:
    """How models are timed: on which target, how many images at once, in how many threads, each pair how long."""

    target: Target
    batch: int
    threads: int | None
    seconds: float

    def subject(self, graph: Path) -> Subject:
        """An ONNX graph in the form that the target runs; an engine is built beside it."""
        goal = self.target
        engines = {str(goal): build_engine(graph, goal, graph.with_suffix("")).path} if goal.needs_build else {}
        return Subject(graph.stem, onnx=graph, engines=engines)

    def saved(self, one: Subject, other: Subject) -> Saved:
        """What the other takes less, both timed in turns."""
        with ExitStack() as opened:
            a, b = (
                opened.enter_context(closing(make_runner(subject, self.target, self.batch, self.threads)))
                for subject in (one, other)
            )
            found = measure_pair(a, b, seconds=self.seconds, warmup=min(2.0, self.seconds))
        base, ratio = float(np.median(found.a_ms)), found.interval()
        saved, low, high = (base * (1 - 1 / value) for value in (ratio.ratio, ratio.low, ratio.high))
        return Saved(base, saved, low, high)
