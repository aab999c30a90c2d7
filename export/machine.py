"""The hardware and the drivers of this machine; what is absent is a finding, never an error."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from secateur.export.runner.machine import printed


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


def memory_mib() -> int:
    """The machine's memory, or 0 where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    except (ValueError, OSError, AttributeError):
        return 0
