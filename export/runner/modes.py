"""How a model is timed on a device, by the names of `secateur.benchmarks.modes.mode`, with numpy and a runtime."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Mapping

import numpy as np

from .errors import UnavailableError
from .runtimes import Model

Call = Callable[[], None]
Open = Callable[[], Model]
Feeds = Callable[[Model], "Mapping[str, np.ndarray[Any, Any]]"]
RUNS = 16
"""Runs of each session in one time of the mode `throughput`, so that what starts and ends them hardly counts."""
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
UNKNOWN_BYTES = 256 * 2**20
"""What is overwritten where the system does not say how large its caches are."""
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


def nothing() -> None:
    """Does nothing."""


@dataclass(frozen=True)
class Timeable:
    """A model in a mode: `call` is timed, `before` comes before it, and its time is that of `runs` runs."""

    call: Call
    models: tuple[Model, ...]
    before: Call = nothing
    runs: int = 1
    threads: tuple[ThreadPoolExecutor, ...] = field(default=())

    def close(self) -> None:
        """Ends its threads and frees its models."""
        for thread in self.threads:
            thread.shutdown()
        for model in self.models:
            model.close()


def in_mode(word: str, opened: Open, feeds: Feeds) -> Timeable:
    """What `opened` opens, ready to be timed in a mode; raises what it does, and `UnavailableError` for other modes."""
    name, _, count = word.partition(":")
    if name in ("concurrent", "throughput"):
        return _together(opened, feeds, int(count), RUNS if name == "throughput" else 1)
    if name not in ("hot", "cold", "copies"):
        raise UnavailableError(f"the mode {word} is not measured on a device over ssh")
    model = opened()
    try:
        drawn = feeds(model)
        if name == "copies":
            return Timeable(lambda: _copied(model, drawn), (model,))
        before = _flusher() if name == "cold" else nothing
        return Timeable(model.prepare(drawn), (model,), before)
    except BaseException:
        model.close()
        raise


def _copied(model: Model, feeds: Mapping[str, np.ndarray[Any, Any]]) -> None:
    model.run(feeds)


def _together(opened: Open, feeds: Feeds, count: int, runs: int) -> Timeable:
    """So many sessions at once, each in a thread of its own, as `secateur.benchmarks.modes.together` has them."""
    models: list[Model] = []
    try:
        calls = []
        for _ in range(count):
            models.append(opened())
            calls.append(models[-1].prepare(feeds(models[-1])))
    except BaseException:
        for model in models:
            model.close()
        raise
    threads = tuple(ThreadPoolExecutor(1) for _ in models)

    def repeat(call: Call) -> None:
        for _ in range(runs):
            call()

    def all_of_them() -> None:
        for started in [thread.submit(repeat, call) for thread, call in zip(threads, calls)]:
            started.result()

    return Timeable(all_of_them, tuple(models), runs=runs, threads=threads)


def _flusher() -> Call:
    """Overwrites twice as much as the largest cache of a processor holds, from one thread."""
    buffer = np.zeros(flushed_bytes(), np.uint8)

    def flush() -> None:
        np.add(buffer, 1, out=buffer)

    return flush


def flushed_bytes(caches: Path = CACHES) -> int:
    """Twice the size of the largest cache of the first processor, as Linux tells it; else `UNKNOWN_BYTES`."""
    words = [path.read_text().strip() for path in caches.glob("index*/size")]
    sizes = [int(word[:-1]) * UNITS[word[-1]] for word in words if word[-1:] in UNITS and word[:-1].isdigit()]
    return 2 * max(sizes) if sizes else UNKNOWN_BYTES
