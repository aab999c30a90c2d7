"""Cold runs: what the caches hold is overwritten before each run that is timed, and outside of its time.

A model that waits between two images, beside other work, finds its weights in memory and not in a cache. Twice as much
as the caches hold is written, as nvbench does, on a CPU by as many threads as PyTorch has, so that the caches of their
cores are reached too. What the kernel keeps in memory of files, and what the processor has translated of addresses,
stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from secateur.benchmarks.latency import Clock
from secateur.export.runner.modes import flushed_bytes


class ColdClock:
    """Another clock, before whose every run `flush` is called."""

    def __init__(self, clock: Clock, flush: Callable[[], object]) -> None:
        self._clock = clock
        self._flush = flush

    def time_ms(self, run: Callable[[], object]) -> float:
        """The milliseconds of `run` after a flush, which is not in them."""
        self._flush()
        return self._clock.time_ms(run)


def flusher(device: str) -> Callable[[], object]:
    """A function that overwrites the caches of `cpu`, or of the GPU that PyTorch sees first, and waits for it."""
    if device == "cpu":
        buffer = torch.zeros(flushed_bytes(), dtype=torch.uint8)
        return lambda: buffer.add_(1)
    size = 2 * torch.cuda.get_device_properties(0).L2_cache_size
    on_gpu = torch.zeros(size, dtype=torch.uint8, device="cuda")

    def flush() -> None:
        on_gpu.add_(1)
        torch.cuda.synchronize()

    return flush
