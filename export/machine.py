"""The hardware and the drivers of this machine; what is absent is a finding, never an error."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Gpu:
    """One GPU; `capability` is its compute capability, as `sm_86`; what is not known is empty or 0."""

    name: str
    capability: str
    memory_mib: int


def driver_and_gpus() -> tuple[str, tuple[Gpu, ...]]:
    """The driver's version and the GPUs that it manages; an empty string and none where there is no driver.

    What a driver does not say of a GPU (that of a Jetson keeps its memory to itself) is empty or 0.
    """
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no library, or a driver that does not run
        return "", ()
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return str(pynvml.nvmlSystemGetDriverVersion()), tuple(map(_gpu, handles))
    except pynvml.NVMLError:  # such as a GPU that has fallen off the bus
        return "", ()
    finally:
        pynvml.nvmlShutdown()


def _gpu(handle: Any) -> Gpu:
    import pynvml

    def asked(question: Callable[[Any], Any], otherwise: Any) -> Any:
        try:
            return question(handle)
        except pynvml.NVMLError_NotSupported:
            return otherwise

    capability = asked(pynvml.nvmlDeviceGetCudaComputeCapability, None)
    memory = asked(pynvml.nvmlDeviceGetMemoryInfo, None)
    return Gpu(
        name=str(pynvml.nvmlDeviceGetName(handle)),
        capability="sm_{}{}".format(*capability) if capability else "",
        memory_mib=int(memory.total) >> 20 if memory else 0,
    )


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
    words = printed("nvcc", "--version").replace(",", " ").split()
    return words[words.index("release") + 1] if "release" in words[:-1] else ""


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
    if sys.platform == "darwin" and (name := printed("sysctl", "-n", "machdep.cpu.brand_string")):
        return name
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
