"""Buffers that outgrow the caches, and the time of one call of many in a CUDA graph."""

from __future__ import annotations

import pytest
import torch

from secateur.benchmarks.gpu_clock import COLD_BYTES, graph_samples_us, rotation_length

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no GPU")


def test_rotating_buffers_outgrow_the_caches() -> None:
    assert rotation_length(COLD_BYTES // 8) == 8
    assert (rotation_length(1), rotation_length(2 * COLD_BYTES)) == (64, 2)


@pytest.mark.parametrize("bytes_of_one", [1, 10**6, COLD_BYTES // 3, COLD_BYTES, 10 * COLD_BYTES])
def test_a_rotation_is_as_short_as_it_can_be(bytes_of_one: int) -> None:
    found = rotation_length(bytes_of_one)
    assert 2 <= found <= 64
    assert found in (2, 64) or (found - 1) * bytes_of_one < COLD_BYTES <= found * bytes_of_one


@gpu
def test_one_call_is_a_share_of_its_replay() -> None:
    matrix = torch.randn(2048, 2048, device="cuda")
    few, many = (min(graph_samples_us([lambda: torch.mm(matrix, matrix)] * count, samples=5)) for count in (2, 8))
    assert 0.5 < few / many < 2
