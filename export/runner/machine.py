"""The processor and the GPU of this machine, found without any package."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

MOST_THREADS = 4096
"""More than any machine has processors."""
MOST_SECONDS = 24 * 3600
"""The longest measurement of one target."""


def printed(*command: str) -> str:
    """What a command prints; empty where it is not installed, fails or hangs."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def cpu_name(cpuinfo: Path = Path("/proc/cpuinfo"), board: Path = Path("/proc/device-tree/model")) -> str:
    """The processor's name; on boards whose processor has none (ARM), the board's."""
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model") and value.strip():
                return " ".join(value.split())
    if board.is_file():
        return board.read_text(errors="replace").strip("\0 \n")
    if sys.platform == "darwin":
        name = printed("sysctl", "-n", "machdep.cpu.brand_string")
        if name:
            return name
    return platform.processor() or platform.machine() or "unknown"


def cpu_count() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Here:
    """What engines and measurements are compared with; `capability` (`sm_87`) and `gpu` are empty without a GPU."""

    cpu_model: str
    cores: int
    platform: str
    python: str
    gpu: str
    capability: str


def this_machine() -> Here:
    """This machine as it is now."""
    gpu, capability = first_gpu()
    kind = f"{platform.system()}-{platform.machine()}".lower()
    return Here(cpu_name(), cpu_count(), kind, platform.python_version(), gpu, capability)


def first_gpu() -> tuple[str, str]:
    """The name and the compute capability (`sm_87`) of the GPU that CUDA programs see first; empty without one."""
    driver = load_driver()
    device = ctypes.c_int()
    if driver is None or driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0):
        return "", ""
    name = ctypes.create_string_buffer(256)
    major, minor = ctypes.c_int(), ctypes.c_int()
    failed = (
        driver.cuDeviceGetName(name, 256, device)
        or driver.cuDeviceGetAttribute(ctypes.byref(major), 75, device)  # COMPUTE_CAPABILITY_MAJOR
        or driver.cuDeviceGetAttribute(ctypes.byref(minor), 76, device)  # COMPUTE_CAPABILITY_MINOR
    )
    if failed:
        return "", ""
    return name.value.decode("utf-8", "replace"), f"sm_{major.value}{minor.value}"


def load_driver() -> ctypes.CDLL | None:
    """The library of NVIDIA's CUDA driver; None where there is none."""
    try:
        return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
