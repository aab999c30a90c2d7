"""The times that trtexec exports (`--exportTimes`), and a comparison of two such files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from secateur.benchmarks.bootstrap import LEAST_BLOCKS, apart_interval
from secateur.benchmarks.environment import Environment
from secateur.benchmarks.results_file import BenchResult, Latency, Side
from secateur.core.errors import BenchError
from secateur.core.json_text import read_json_text

LARGEST_BYTES, MOST = 64 << 20, 200_000
"""The size of a file that is read, and how many of its times are used, the first ones."""
TIME = "computeMs"
"""What is compared: the time of the GPU, without transfers and without what the host does."""
ELSEWHERE = Environment("not recorded", 0, 0, None, "", "not recorded", "not recorded", "not recorded")
"""trtexec writes nothing about the machine."""
NOTE = (
    "times of trtexec, dense and pruned one after the other and not in turn: what changed between them (clocks, "
    "temperature) is in the ratio"
)


def read_times(path: Path) -> tuple[float, ...]:
    """The GPU's milliseconds for each run in a file of `trtexec --exportTimes`, in order.

    Raises `BenchError` for a file that is none, is larger than 64 MiB, or has fewer than ten times.
    """
    try:
        content: Any = read_json_text(path, LARGEST_BYTES)
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}; give a file of --exportTimes") from error
    except ValueError as error:  # JSON and UTF-8 alike
        raise BenchError(
            f"{path} is no JSON of trtexec ({error}): time again with --exportTimes={path.name}"
        ) from error
    if not isinstance(content, list):
        raise BenchError(f"{path} holds no list of times: time again with --exportTimes={path.name}")
    times = tuple(map(_milliseconds, content[:MOST]))
    if not all(0 < time < math.inf for time in times):
        place = next(place for place, time in enumerate(times) if not 0 < time < math.inf)
        raise BenchError(f"{path}: entry {place} has no {TIME} above 0: time again with --exportTimes={path.name}")
    if len(times) < 2 * LEAST_BLOCKS:
        raise BenchError(f"{path} has {len(times)} times, but {2 * LEAST_BLOCKS} are needed: time with --duration=10")
    return times


def trtexec_result(dense: Path, pruned: Path, target: str = "tensorrt", batch: int = 1) -> BenchResult:
    """The comparison of two files of times: the ratio of their medians, each side resampled for itself.

    Both sides are cut to as many times as the shorter one has.
    """
    sides = [read_times(path) for path in (dense, pruned)]
    count = min(map(len, sides)) // 2 * 2
    latencies = [Latency.of(side[:count], batch) for side in sides]
    pairs = zip((dense, pruned), latencies, strict=True)
    one, other = (Side(path.name, latency_ms={target: found}) for path, found in pairs)
    return BenchResult(
        environment=ELSEWHERE,
        dense=one,
        pruned=other,
        speedup={target: apart_interval(latencies[0].samples, latencies[1].samples)},
        notes=(NOTE,),
        in_turn=False,
    )


def _milliseconds(entry: Any) -> float:
    """The time of one entry; not a number where it has none."""
    value = entry.get(TIME) if isinstance(entry, dict) else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
