"""Launching kernels through pycuda, in PyTorch's primary context and in the order of PyTorch's current stream."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from secateur.core.errors import KernelError, MissingPackageError
from secateur.kernels.compile import ARCHITECTURES, compile_kernel
from secateur.kernels.driver import require_driver_for
from secateur.kernels.heads import HeadLayout
from secateur.kernels.variants import SIGNATURES, DeviceLimits, Launch

STATIC_SHARED_BYTES = 48 * 1024  # more dynamic shared memory than this must be asked for
DURING_CAPTURE = -1  # the stream beside whatever stream is being captured: no stream is made during a capture
NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: no order with the default stream other than the one asked for
Argument = Tensor | int | float | None


def why_not(index: int = 0) -> str:
    """Why no kernel can be launched on CUDA device `index`, as a sentence; empty where all can."""
    if not torch.cuda.is_available() or index >= torch.cuda.device_count():
        return f"PyTorch sees no CUDA device {index} here"
    limits = device_limits(torch.device("cuda", index))
    if limits.capability < ARCHITECTURES[0]:
        return f"the device has compute capability {limits.capability / 10:.1f}, and the kernels need 7.5"
    try:
        _driver()
    except (MissingPackageError, KernelError) as error:
        return str(error)
    return ""


def device_limits(device: torch.device) -> DeviceLimits:
    """What the device of a tensor can do; raises `KernelError` for a device that is not CUDA."""
    if device.type != "cuda":
        raise KernelError(f"a tensor on {device} was given, but the kernels run on CUDA devices: move it there")
    return _limits_of(torch.cuda.current_device() if device.index is None else device.index)


def image_for(capability: int) -> tuple[int, str]:
    """The architecture and the form of the image that a device of `capability` loads.

    A cubin runs on its own capability and on later ones of the same major number; any later device translates PTX.
    """
    same = [known for known in ARCHITECTURES if known // 10 == capability // 10 and known <= capability]
    if same:
        return same[-1], "cubin"
    older = [known for known in ARCHITECTURES if known <= capability]
    if not older:
        raise KernelError(f"the device has compute capability {capability / 10:.1f}, but the kernels need 7.5 or newer")
    return older[-1], "ptx"


def table_on(layout: HeadLayout, device: torch.device) -> Tensor:
    """The head table on the device; copied there once, so that a captured CUDA graph need not."""
    return _table_on(layout, device)


def run(launch: Launch, arguments: Sequence[Argument]) -> None:
    """Launches the kernel after all work of PyTorch's current stream, and before what that stream is given next.

    Tensors (contiguous, on one device) are passed as addresses, None as a null pointer. Within a CUDA-graph capture the
    kernel becomes a node of the graph; run it once before the capture, so that it is compiled and loaded. Raises
    `KernelError` in the driver's words.
    """
    device = next(argument.device for argument in arguments if isinstance(argument, Tensor))
    with _context(device.index) as driver:
        entry = _entry(device.index, launch.source, launch.kernel, launch.shared_bytes)
        values = [
            argument.data_ptr() if isinstance(argument, Tensor) else 0 if argument is None else argument
            for argument in arguments
        ]
        current = torch.cuda.current_stream(device)
        beside = DURING_CAPTURE if torch.cuda.is_current_stream_capturing() else current.cuda_stream
        ours = _side_stream(device.index, beside) if current.cuda_stream else None
        if ours is not None:
            ours.torch.wait_stream(current)
        stream = None if ours is None else ours.pycuda
        try:
            entry.prepared_async_call(launch.grid, launch.block, stream, *values, shared_size=launch.shared_bytes)
        except driver.Error as error:
            raise KernelError(
                f"the driver refused to launch {launch.kernel} with the grid {launch.grid} and {launch.shared_bytes} "
                f"bytes of shared memory ({error}): update the driver, or use the library's attention"
            ) from error
        if ours is not None:
            current.wait_stream(ours.torch)


@dataclass(frozen=True)
class _SideStream:
    """One stream by its two names. pycuda launches only on its own streams and on the default one."""

    pycuda: Any
    torch: torch.cuda.Stream


@contextmanager
def _context(index: int) -> Iterator[ModuleType]:
    """pycuda's driver module, with PyTorch's primary context current for pycuda too."""
    driver = _driver()
    context = _primary_context(index)
    context.push()
    try:
        yield driver
    finally:
        driver.Context.pop()


@lru_cache(maxsize=1)
def _driver() -> ModuleType:
    try:
        driver = importlib.import_module("pycuda.driver")
    except ModuleNotFoundError as error:
        raise MissingPackageError("pycuda", "the launch of a CUDA kernel", "gpu") from error
    except ImportError as error:  # the package is there, but libcuda is not
        raise KernelError(f"pycuda does not load ({error}): install the NVIDIA driver") from error
    try:
        driver.init()
    except driver.Error as error:
        raise KernelError(f"the CUDA driver does not start ({error}): check that nvidia-smi works") from error
    return driver


@lru_cache(maxsize=16)
def _primary_context(index: int) -> Any:
    driver = _driver()
    _initialised(index)
    return driver.Device(index).retain_primary_context()


def _initialised(index: int) -> None:
    """Lets PyTorch make the primary context, with its own settings."""
    torch.zeros(1, device=torch.device("cuda", index))


@lru_cache(maxsize=16)
def _limits_of(index: int) -> DeviceLimits:
    found: Any = torch.cuda.get_device_properties(index)  # not every release's stubs name all of it
    shared = found.shared_memory_per_block_optin
    return DeviceLimits(10 * found.major + found.minor, found.multi_processor_count, shared)


@lru_cache(maxsize=1024)
def _side_stream(index: int, beside: int) -> _SideStream:
    """The stream that stands for the stream `beside`; one for each, so that streams do not wait for each other."""
    stream = _driver().Stream(NON_BLOCKING)
    wrapped = torch.cuda.ExternalStream(stream.handle, device=index)  # type: ignore[no-untyped-call]  # of torch
    return _SideStream(stream, wrapped)


@lru_cache(maxsize=1024)
def _module(index: int, source: str, kernel: str) -> Any:
    driver = _driver()
    architecture, form = image_for(_limits_of(index).capability)
    image = compile_kernel(source, architecture, form, kernel=kernel).image
    if form == "ptx":
        require_driver_for(image)
    _side_stream(index, DURING_CAPTURE)
    try:
        return driver.module_from_buffer(image)
    except driver.Error as error:
        raise KernelError(
            f"the driver refused {kernel} for sm_{architecture} ({error}): update the NVIDIA driver"
        ) from error


@lru_cache(maxsize=1024)
def _entry(index: int, source: str, kernel: str, shared_bytes: int) -> Any:
    """The kernel, ready for calls with so much dynamic shared memory; the context of the device is current."""
    driver = _driver()
    module = _module(index, source, kernel)
    try:
        entry = module.get_function(kernel)
        if shared_bytes > STATIC_SHARED_BYTES:
            entry.set_attribute(driver.function_attribute.MAX_DYNAMIC_SHARED_SIZE_BYTES, shared_bytes)
    except driver.Error as error:
        raise KernelError(
            f"the driver refused {kernel} with {shared_bytes} bytes of shared memory ({error}): "
            "update the driver, or use the library's attention"
        ) from error
    return entry.prepare(SIGNATURES[source])


@lru_cache(maxsize=4096)
def _table_on(layout: HeadLayout, device: torch.device) -> Tensor:
    return torch.tensor(layout.table, dtype=torch.int32, device=device)
