"""What can be timed, and the clocks that time one run of it.

Timings are *hot* unless another mode is named (see `modes.mode`): a run that is timed follows another run of the same
side, so caches hold its weights and branch predictors know its code, as on a device that does nothing else. A *cold*
run (caches flushed, or another model run in between) is slower, by more than a tenth for models of less than a
millisecond.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol


class Clock(Protocol):
    """Measures one run."""

    def time_ms(self, run: Callable[[], object]) -> float:
        """The milliseconds from the start of `run` until its work is done."""
        ...


class Timed(Protocol):
    """Something prepared to run again and again on the same input: everything but the run is done beforehand."""

    @property
    def clock(self) -> Clock:
        """The clock that fits the device."""
        ...

    def run(self) -> None:
        """Runs once; on a GPU the work may still be going on when it returns, which the clock waits for."""
        ...

    def close(self) -> None:
        """Frees what was prepared."""
        ...


class CpuClock:
    """`time.perf_counter_ns` around a run that has finished its work when it returns."""

    def time_ms(self, run: Callable[[], object]) -> float:
        """Wall-clock milliseconds of `run`."""
        start = time.perf_counter_ns()
        run()
        return (time.perf_counter_ns() - start) / 1e6


class CudaClock:
    """CUDA events on a stream, the current one without any: from the first kernel's command to the last kernel's end.

    The device is idle at the start, so a model whose kernels are faster than their launches shows the launches, as
    its user would see them; how long the host takes to notice the end is not in it.
    """

    def __init__(self, stream: Any = None) -> None:
        import torch

        self._cuda: Any = torch.cuda
        self._stream = (stream,) if stream is not None else ()
        self._start: Any = self._cuda.Event(enable_timing=True)
        self._end: Any = self._cuda.Event(enable_timing=True)

    def time_ms(self, run: Callable[[], object]) -> float:
        """Milliseconds between the two events around `run`, all work done."""
        self._cuda.synchronize()
        self._start.record(*self._stream)
        run()
        self._end.record(*self._stream)
        self._end.synchronize()
        return float(self._start.elapsed_time(self._end))
