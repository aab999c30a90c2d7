"""The clock of a Jetson's GPU, which the kernel's devfreq governs.

Source: Documentation/ABI/testing/sysfs-class-devfreq of Linux. The device is named by its address and by the GPU
(`17000000.ga10b` on Orin before JetPack 6, `17000000.gpu` since, `gpu-gpc-0` on Thor).
"""

from __future__ import annotations

import re
from pathlib import Path

from .probe import CLOCK_MHZ, Probe, SensorError, Sensors, file_probe, numbered, readable, text

GPU = re.compile(r"(^|[.\-])(gpu|gv11b|gp10b|gm20b|ga10b|gb10b)([.\-]|$)")
MHZ = 1e-6
"""devfreq counts in Hz."""


def gpu_clocks(root: Path) -> Sensors:
    """Clocks in MHz and governors of the GPUs that devfreq knows."""
    folder = root / "sys/class/devfreq"
    gpus = [path for path in numbered(folder, "*") if GPU.search(path.name)]
    if not gpus:
        return Sensors(absent=(("gpu clock by devfreq", f"no GPU is in {folder}"),))
    probes: list[Probe] = [file_probe(f"gpu {one.name}", CLOCK_MHZ, one / "cur_freq", MHZ) for one in gpus]
    settings: list[tuple[str, str]] = []
    absent: list[tuple[str, str]] = []
    for one in gpus:
        for name in ("governor", "min_freq", "max_freq"):
            try:
                settings.append((f"gpu {one.name} {name}", text(one / name)))
            except SensorError as error:
                absent.append((f"gpu {one.name} {name}", str(error)))
    found = readable(probes, absent)
    return Sensors(found.probes, tuple(settings), found.absent)
