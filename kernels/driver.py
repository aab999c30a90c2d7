"""What the NVIDIA driver itself says, asked without any package: its CUDA, and what the first device can do."""

from __future__ import annotations

import ctypes
import re

from secateur.core.errors import KernelError

LIBRARY = "libcuda.so.1"
MAJOR, MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
# The first CUDA that reads each version of PTX, where the two are not counted alike; PTX ISA, "Release Notes".
FIRST_CUDA = {
    (8, 0): (12, 0), (8, 1): (12, 1), (8, 2): (12, 2), (8, 3): (12, 3), (8, 4): (12, 4), (8, 5): (12, 5),
    (8, 6): (12, 7), (8, 7): (12, 8), (8, 8): (12, 9),
}  # fmt: skip
_VERSION = re.compile(rb"^\.version\s+(\d+)\.(\d+)", re.M)


def driver_cuda() -> tuple[int, int] | None:
    """The newest CUDA that the driver knows, as (major, minor); None where there is no driver."""
    library, found = _library(), ctypes.c_int()
    if library is None or library.cuDriverGetVersion(ctypes.byref(found)):
        return None
    return found.value // 1000, found.value % 1000 // 10


def device_capability() -> int:
    """The compute capability of the first device (86 for 8.6); raises `KernelError` where there is none."""
    library = _library()
    found = None if library is None else _capability(library)
    if found is None:
        raise KernelError(
            "the NVIDIA driver shows no CUDA device, and a kernel for an engine is compiled for one: "
            "build the engine where its GPU is, or export the model without kernels"
        )
    return found


def ptx_cuda(ptx: bytes) -> tuple[int, int]:
    """The first CUDA whose drivers read the PTX, by its `.version`; raises `KernelError` where it has none."""
    found = _VERSION.search(ptx)
    if found is None:
        raise KernelError("the PTX of a kernel names no version: empty the kernel cache and compile it again")
    isa = int(found[1]), int(found[2])
    if isa < (8, 0):
        return isa[0] + 4, isa[1]  # 7.0 to 7.8 came with CUDA 11.0 to 11.8
    return FIRST_CUDA.get(isa, (isa[0] + 4, isa[1]))  # from 9.0 on, with CUDA 13.0


def require_driver_for(ptx: bytes) -> None:
    """Raises `KernelError` where the driver of this machine is too old to translate the PTX."""
    needed, known = ptx_cuda(ptx), driver_cuda()
    if known is not None and known < needed:
        raise KernelError(
            f"the PTX of a kernel needs a driver of CUDA {needed[0]}.{needed[1]}, and this one knows "
            f"{known[0]}.{known[1]}: update the NVIDIA driver, or compile with a CUDA toolkit of {known[0]}.{known[1]}"
        )


def _capability(library: ctypes.CDLL) -> int | None:
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    if library.cuInit(0) or library.cuDeviceGet(ctypes.byref(device), 0):
        return None
    for kind, part in ((MAJOR, major), (MINOR, minor)):
        if library.cuDeviceGetAttribute(ctypes.byref(part), kind, device):
            return None
    return 10 * major.value + minor.value


def _library() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(LIBRARY)
    except OSError:  # no driver on this machine
        return None
