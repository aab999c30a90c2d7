"""What is checked before anything is timed: every kernel, and any number that is wrong."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from secateur.benchmarks import gpu_checks
from secateur.benchmarks.gpu_checks import LIMITS, Check, run_checks
from secateur.benchmarks.roofline import peak_of
from secateur.kernels import portable
from secateur.kernels.heads import HeadLayout
from secateur.kernels.variants import RAGGED_TILES, Tile

H100 = peak_of("NVIDIA H100 80GB HBM3")


def test_checks_cover_every_kernel_and_notice_a_wrong_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the portable operators in the place of the kernels, and then with one wrong number."""
    tiles: list[Tile] = []

    def attention(qkv: torch.Tensor, layout: HeadLayout, tile: Tile, **extras: Any) -> torch.Tensor:
        tiles.append(tile)
        return portable.ragged_attention(qkv, layout, **extras)

    monkeypatch.setattr(gpu_checks, "TOKENS", (3,))
    monkeypatch.setattr(gpu_checks, "DTYPES", {"fp32": torch.float32, "fp16": torch.float16})
    monkeypatch.setattr(gpu_checks.on_gpu, "ragged_attention", attention)
    for name in ("window_attention", "residual_layernorm", "bias_gelu"):
        monkeypatch.setattr(gpu_checks.on_gpu, name, getattr(portable, name))
    found = list(run_checks(H100.limits, "cpu"))
    assert set(tiles) == set(RAGGED_TILES)
    assert [check for check in found if not check.passed] == []
    assert {check.kernel.split(",")[0] for check in found} >= {"window_attention", "residual_layernorm", "bias_gelu"}
    monkeypatch.setattr(gpu_checks.on_gpu, "bias_gelu", lambda x, bias: portable.bias_gelu(x, bias) * 1.1)
    assert {check.kernel for check in gpu_checks._rows("fp16", "cpu") if not check.passed} == {"bias_gelu"}
    assert not Check("any", "fp32", "", float("inf")).passed and not Check("any", "fp32", "", float("nan")).passed


@pytest.mark.parametrize("dtype", LIMITS)
def test_a_check_passes_below_the_limit_of_its_type(dtype: str) -> None:
    assert Check("any", dtype, "", 0.9 * LIMITS[dtype]).passed
    assert not Check("any", dtype, "", 1.1 * LIMITS[dtype]).passed


def test_nan_anywhere_is_an_infinite_error() -> None:
    """The outputs are poisoned before a launch, so that what is not written is NaN."""
    expected = torch.ones(3, dtype=torch.float64)
    assert gpu_checks._error(torch.tensor([1.0, 1.0, 1.5]), expected) == pytest.approx(0.5 / 3**0.5)
    assert gpu_checks._error(torch.tensor([1.0, float("nan"), 1.0]), expected) == float("inf")
