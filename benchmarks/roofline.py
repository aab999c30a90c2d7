"""What a GPU could do at best: published peaks, and the least time that a kernel's work can take."""

from __future__ import annotations

from dataclasses import dataclass

from secateur.core.errors import BenchError, near_matches
from secateur.kernels.resources import BLOCK_SHARED_KIB
from secateur.kernels.variants import DeviceLimits


@dataclass(frozen=True)
class Peak:
    """A GPU as its data sheet has it: memory bandwidth, dense fp16/bf16 tensor and plain fp32 arithmetic.

    `name` is what the driver calls it, but for a Jetson, whose driver says no more than its `chip`.
    """

    name: str
    capability: int
    multiprocessors: int
    bytes_per_second: float
    tensor_flops_per_second: float
    fp32_flops_per_second: float
    chip: str = ""

    @property
    def limits(self) -> DeviceLimits:
        """The limits by which kernels are chosen."""
        return DeviceLimits(self.capability, self.multiprocessors, BLOCK_SHARED_KIB[self.capability] * 1024)

    def flops_per_second(self, dtype: str) -> float:
        """The arithmetic peak of our kernels for that type: tensor cores for 16-bit types from sm_80 on."""
        tensor = dtype != "fp32" and self.capability >= 80
        return self.tensor_flops_per_second if tensor else self.fp32_flops_per_second


# Data sheets of NVIDIA; dense rates with fp32 accumulation, boost clocks. Orin: at its highest power mode.
PEAKS = (
    Peak("NVIDIA H100 80GB HBM3", 90, 132, 3.35e12, 989e12, 67e12),
    Peak("NVIDIA H200", 90, 132, 4.8e12, 989e12, 67e12),
    Peak("NVIDIA A100-SXM4-80GB", 80, 108, 2.039e12, 312e12, 19.5e12),
    Peak("NVIDIA GeForce RTX 4090", 89, 128, 1.008e12, 165e12, 82.6e12),
    Peak("Tesla T4", 75, 40, 0.32e12, 65e12, 8.1e12),
    Peak("Jetson AGX Orin 64GB", 87, 16, 0.2048e12, 42.5e12, 5.3e12, "Orin"),
    Peak("Jetson Orin NX 16GB", 87, 8, 0.1024e12, 15e12, 1.88e12, "Orin"),
    Peak("Jetson Orin Nano 8GB", 87, 8, 0.068e12, 10e12, 1.28e12, "Orin"),
)


def peak_of(name: str) -> Peak:
    """The peaks of the GPU of that name; raises `BenchError` with the known ones."""
    for peak in PEAKS:
        if peak.name == name:
            return peak
    known = [peak.name for peak in PEAKS]
    raise BenchError(
        f"the peaks of {name!r} are not known{near_matches(name, known)}: known are {', '.join(known)}; "
        "add its data sheet to benchmarks/roofline.py"
    )


def peak_of_device(name: str, limits: DeviceLimits) -> Peak | None:
    """The peaks of the GPU whose driver calls it so; None where none are known, or where several Jetsons fit."""
    own = limits.capability, limits.multiprocessors
    found = [
        peak
        for peak in PEAKS
        if (peak.capability, peak.multiprocessors) == own and (peak.name == name or peak.chip in name.split())
    ]
    return found[0] if len(found) == 1 else None


def roofline_us(peak: Peak, dtype: str, bytes_moved: int, flops: int) -> float:
    """The least time of so much traffic and arithmetic, in microseconds (Williams et al., 2009)."""
    return 1e6 * max(bytes_moved / peak.bytes_per_second, flops / peak.flops_per_second(dtype))
