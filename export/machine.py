"""The hardware and the drivers of this machine; what is absent is a finding, never an error."""

from __future__ import annotations

import ctypes.util
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Gpu:
    """One GPU; `capability` is its compute capability, as `sm_86`."""

    name: str
    capability: str
    memory_mib: int


def nvidia_smi() -> tuple[str, tuple[Gpu, ...]]:
    """The driver's version and the GPUs that it manages; an empty string and none where there is no driver."""
    tool = shutil.which("nvidia-smi")
    fields = "driver_version,name,compute_cap,memory.total"
    if tool is None:
        return "", ()
    try:
        done = subprocess.run(
            [tool, f"--query-gpu={fields}", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "", ()
    rows = [[field.strip() for field in line.split(",")] for line in done.stdout.splitlines() if done.returncode == 0]
    rows = [row for row in rows if len(row) == 4]
    gpus = (
        Gpu(name, f"sm_{capability.replace('.', '')}", int(memory) if memory.isdigit() else 0)
        for _, name, capability, memory in rows
    )
    return (rows[0][0], tuple(gpus)) if rows else ("", ())


def torch_cuda() -> tuple[str, tuple[Gpu, ...]]:
    """The CUDA version that PyTorch was built for and the GPUs that it can really use."""
    import warnings

    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an old driver is said in our words
        available = torch.cuda.is_available()
    gpus = []
    for index in range(torch.cuda.device_count() if available else 0):
        properties = torch.cuda.get_device_properties(index)
        capability = f"sm_{properties.major}{properties.minor}"
        gpus.append(Gpu(properties.name, capability, properties.total_memory >> 20))
    return torch.version.cuda or "", tuple(gpus)


def nvcc() -> str:
    """The CUDA compiler's version, or an empty string."""
    tool = shutil.which("nvcc")
    if tool is None:
        return ""
    try:
        done = subprocess.run([tool, "--version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    words = done.stdout.replace(",", " ").split()
    return words[words.index("release") + 1] if "release" in words[:-1] else ""


def has_nvrtc() -> bool:
    """True where the CUDA run-time compiler is here: as a system library or inside the nvidia wheels."""
    if ctypes.util.find_library("nvrtc"):
        return True
    roots = (Path(folder) / "nvidia" for folder in sys.path if folder)
    return any(next(root.glob("**/libnvrtc.so*"), None) for root in roots if root.is_dir())


def cpu_name() -> str:
    """The processor's name, as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("model name", "Model")):
                return line.split(":", 1)[1].strip()
    except OSError:
        return platform.processor() or "unknown"
    return platform.processor() or platform.machine() or "unknown"


def cpu_count() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_mib() -> int:
    """The machine's memory, or 0 where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    except (ValueError, OSError, AttributeError):
        return 0
