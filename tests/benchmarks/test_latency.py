"""The clocks."""

from __future__ import annotations

import time

import pytest
import torch

from secateur.benchmarks.latency import CpuClock, CudaClock

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no GPU")


def test_the_cpu_clock_counts_milliseconds() -> None:
    taken = CpuClock().time_ms(lambda: time.sleep(0.02))
    assert 20 <= taken < 2000


def test_events_are_recorded_on_the_stream_and_around_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[object] = []

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self, *stream: object) -> None:
            order.append(stream)

        def synchronize(self) -> None:
            order.append("done")

        def elapsed_time(self, end: Event) -> float:
            return 1.5

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: order.append("idle"))
    assert CudaClock("a stream").time_ms(lambda: order.append("run")) == 1.5
    assert CudaClock().time_ms(lambda: order.append("run")) == 1.5
    of_stream, current = ["idle", ("a stream",), "run", ("a stream",), "done"], ["idle", (), "run", (), "done"]
    assert order == [*of_stream, *current]


@gpu
def test_the_cuda_clock_waits_for_the_kernels() -> None:
    matrix = torch.randn(4096, 4096, device="cuda")
    clock = CudaClock()

    def fastest(count: int) -> float:
        def products() -> None:
            for _ in range(count):
                torch.mm(matrix, matrix)

        return min(clock.time_ms(products) for _ in range(5))

    assert fastest(50) > 5 * fastest(5)
