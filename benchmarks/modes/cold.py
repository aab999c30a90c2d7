"""Cold runs: what the caches hold is overwritten before each run that is timed, and outside of its time.

A model that waits between two images, beside other work, finds its weights in memory and not in a cache. Twice as much
as the caches hold is written, as nvbench does, on a CPU by as many threads as PyTorch has, so that the caches of their
cores are reached too. What the kernel keeps in memory of files, and what the processor has translated of addresses,
stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from secateur.benchmarks.latency import Clock

UNKNOWN_BYTES = 256 * 2**20
"""What is written where the system does not say how large its caches are."""
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


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


def flushed_bytes(caches: Path = CACHES) -> int:
    """Twice the size of the largest cache of the first processor, as Linux tells it; else `UNKNOWN_BYTES`."""
    words = [path.read_text().strip() for path in caches.glob("index*/size")]
    sizes = [int(word[:-1]) * UNITS[word[-1]] for word in words if word[-1:] in UNITS and word[:-1].isdigit()]
    return 2 * max(sizes) if sizes else UNKNOWN_BYTES
