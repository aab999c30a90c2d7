"""Published peaks, and the least time of a kernel's work."""

from __future__ import annotations

import pytest

from secateur.benchmarks.roofline import PEAKS, peak_of, peak_of_device, roofline_us
from secateur.core.errors import BenchError
from secateur.kernels.compile import ARCHITECTURES
from secateur.kernels.variants import DeviceLimits

H100 = peak_of("NVIDIA H100 80GB HBM3")


def test_the_roofline_is_the_slower_of_traffic_and_arithmetic() -> None:
    assert roofline_us(H100, "fp16", 3_350_000, 1) == pytest.approx(1.0)
    assert roofline_us(H100, "fp16", 1, 989_000_000) == pytest.approx(1.0)
    assert roofline_us(H100, "fp32", 1, 67_000_000) == pytest.approx(1.0)
    assert roofline_us(peak_of("Tesla T4"), "fp16", 1, 8_100_000) == pytest.approx(1.0)  # our plain kernels there
    with pytest.raises(BenchError, match="peaks of 'Tesla T5' are not known; did you mean 'Tesla T4'"):
        peak_of("Tesla T5")


@pytest.mark.parametrize(
    ("name", "capability", "multiprocessors", "found"),
    [
        ("NVIDIA H100 80GB HBM3", 90, 132, "NVIDIA H100 80GB HBM3"),
        ("NVIDIA H100 80GB HBM3", 90, 60, None),  # a slice of it by MIG
        ("NVIDIA H100 PCIe", 90, 114, None),
        ("Orin", 87, 16, "Jetson AGX Orin 64GB"),
        ("Orin (nvgpu)", 87, 16, "Jetson AGX Orin 64GB"),
        ("Orin", 87, 8, None),  # an Orin NX or an Orin Nano
        ("Orin", 87, 14, None),
        ("", 87, 8, None),
    ],
)
def test_a_driver_names_its_gpu(name: str, capability: int, multiprocessors: int, found: str | None) -> None:
    peak = peak_of_device(name, DeviceLimits(capability, multiprocessors, 1))
    assert (peak and peak.name) == found


def test_every_gpu_is_one_that_the_kernels_are_built_for() -> None:
    assert len({peak.name for peak in PEAKS}) == len(PEAKS)
    for peak in PEAKS:
        assert peak.capability in ARCHITECTURES
        assert (peak.limits.capability, peak.limits.multiprocessors) == (peak.capability, peak.multiprocessors)
        assert 64 * 1024 <= peak.limits.shared_bytes_per_block <= 227 * 1024
        assert peak.flops_per_second("fp32") < peak.tensor_flops_per_second
        assert peak.flops_per_second("fp16") == (
            peak.tensor_flops_per_second if peak.capability >= 80 else peak.fp32_flops_per_second
        )
