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
