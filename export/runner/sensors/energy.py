"""Energy of an inference: what a run took above what the idle device takes, with the uncertainty of both.

The mean power of each window has the standard error of batch means (the window in ten parts, whose means are nearly
independent where single samples are not), and the 95 % interval is Student's with nine degrees of freedom.
Source: Law and Kelton, Simulation Modeling and Analysis, "batch means".
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from .ina3221 import BOARD
from .probe import ENERGY_J, POWER_W, SensorError
from .watcher import Series

BATCHES = 10
STUDENT_95 = 2.262
"""The 97.5 % quantile of Student's t with `BATCHES - 1` degrees of freedom."""


@dataclass(frozen=True)
class Energy:
    """Millijoules of one inference on one rail, above idle; every `..._error` is half of a 95 % interval.

    `model` is the one that ran (empty where there is one only), `board` whether the rail feeds the whole module.
    `idle_w` and `run_w` are mean powers in watts.
    """

    rail: str
    board: bool
    idle_w: float
    idle_error_w: float
    run_w: float
    run_error_w: float
    seconds: float
    inferences: int
    mj: float
    mj_error: float
    model: str = ""


def energy(
    series: Series, idle: tuple[float, float], run: tuple[float, float], inferences: int, model: str = ""
) -> Energy:
    """The energy of an inference of which `inferences` filled the window `run`; both windows are in seconds.

    Raises `SensorError` where a window has too few samples.
    """
    idle_w, idle_error = mean_power(series, *idle)
    run_w, run_error = mean_power(series, *run)
    seconds = run[1] - run[0]
    each = 1e3 * seconds / inferences
    return Energy(
        rail=series.name,
        board=series.name in BOARD,
        idle_w=idle_w,
        idle_error_w=idle_error,
        run_w=run_w,
        run_error_w=run_error,
        seconds=seconds,
        inferences=inferences,
        mj=(run_w - idle_w) * each,
        mj_error=math.hypot(run_error, idle_error) * each,
        model=model,
    )


def mean_power(series: Series, start: float, end: float) -> tuple[float, float]:
    """The mean power in watts between two times, and half of its 95 % interval."""
    pieces = _pieces(series, start, end)
    if len(pieces) < 2 * BATCHES:
        raise SensorError(
            f"{series.name} was read {len(pieces)} times in {end - start:.1f} s, too few for an uncertainty: "
            f"measure for longer, so that there are {2 * BATCHES}"
        )
    size = len(pieces) / BATCHES
    means = [_mean(pieces[round(i * size) : round((i + 1) * size)]) for i in range(BATCHES)]
    return _mean(pieces), STUDENT_95 * statistics.stdev(means) / math.sqrt(BATCHES)


def _pieces(series: Series, start: float, end: float) -> list[tuple[float, float]]:
    """The time between each two readings in the window, in seconds, and the mean power of it in watts."""
    read = [(at, value) for at, value in zip(series.times, series.values) if start <= at <= end]
    found = []
    for (before, low), (after, high) in zip(read, read[1:]):
        if series.kind == POWER_W:
            found.append((after - before, (low + high) / 2))
        elif series.kind == ENERGY_J:
            used = high - low
            if used < 0 and series.wraps_at:
                used += series.wraps_at
            if used < 0:
                raise SensorError(f"the counter {series.name} went back from {low:g} J to {high:g} J")
            found.append((after - before, used / (after - before)))
    return found


def _mean(pieces: list[tuple[float, float]]) -> float:
    return sum(seconds * watts for seconds, watts in pieces) / sum(seconds for seconds, _ in pieces)
