"""Compilation through NVRTC, the run-time compiler of PyTorch's CUDA wheels, by NVIDIA's own Python bindings."""

from __future__ import annotations

import importlib
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from secateur.core.errors import KernelError


@lru_cache(maxsize=1)
def nvrtc_version() -> str | None:
    """`nvrtc 13.2`, or none where the bindings or the library are not found."""
    nvrtc = _bindings()
    if nvrtc is None:
        return None
    try:
        _, major, minor = nvrtc.nvrtcVersion()
    except RuntimeError:  # the bindings load the library when they are first called
        return None
    return f"nvrtc {major}.{minor}"


def compile_with_nvrtc(
    source: str, text: str, folder: Path, architecture: int, form: str, options: tuple[str, ...]
) -> bytes:
    """The cubin or PTX of the `text` of `source`; it needs no driver.

    Headers in `folder` and those of the CUDA runtime's wheel or toolkit are found. Raises `KernelError` with the first
    error of the compiler's log.
    """
    nvrtc = _bindings()
    if nvrtc is None or nvrtc_version() is None:
        raise KernelError("NVRTC was not found: `pip install 'cuda-bindings[all]'` or install the CUDA toolkit")
    program = _checked(nvrtc, nvrtc.nvrtcCreateProgram(text.encode(), f"{source}.cu".encode(), 0, [], []))
    try:
        real = "sm" if form == "cubin" else "compute"
        flags = [f"--gpu-architecture={real}_{architecture}", *options, f"-I{folder}", *_runtime_headers()]
        (status,) = nvrtc.nvrtcCompileProgram(program, len(flags), [flag.encode() for flag in flags])
        if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            log = _content(nvrtc, program, "ProgramLog").decode(errors="replace")
            if "builtins" in log:  # looked for where the loader looks; the locator loads them first from 1.9 on
                raise KernelError(
                    f"NVRTC did not find its own built-in functions for {source}.cu: "
                    "`pip install 'cuda-pathfinder>=1.9'`, or put the folder of libnvrtc into LD_LIBRARY_PATH"
                )
            first = next((line for line in log.splitlines() if "error" in line), log.strip()[:200])
            raise KernelError(f"NVRTC could not compile {source}.cu for sm_{architecture}: {first}")
        image = _content(nvrtc, program, "CUBIN" if form == "cubin" else "PTX")
        return image if form == "cubin" else image.rstrip(b"\0")
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def _bindings() -> ModuleType | None:
    """The module `cuda.bindings.nvrtc`, which PyTorch's CUDA builds require; none where it is not installed.

    `cuda.core` above it would be shorter still, but asks the driver before it gives PTX, and engines are built on
    machines without one.
    """
    try:
        return importlib.import_module("cuda.bindings.nvrtc")
    except ImportError:
        return None


def _content(nvrtc: ModuleType, program: Any, what: str) -> bytes:
    buffer = bytearray(_checked(nvrtc, getattr(nvrtc, f"nvrtcGet{what}Size")(program)))
    _checked(nvrtc, getattr(nvrtc, f"nvrtcGet{what}")(program, buffer))
    return bytes(buffer)


def _checked(nvrtc: ModuleType, answer: tuple[Any, ...]) -> Any:
    """The result in an answer of the bindings, `(status, result)`; raises `KernelError` for another status than 0."""
    status, *results = answer
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        _, name = nvrtc.nvrtcGetErrorString(status)
        raise KernelError(f"NVRTC failed with {name.decode()}: install the packages of PyTorch's CUDA build again")
    return results[0] if results else None


def _runtime_headers() -> list[str]:
    """The option that finds `cuda_fp16.h`, in a wheel or a toolkit; none where NVIDIA's locator knows neither."""
    from cuda import pathfinder

    found = pathfinder.find_nvidia_header_directory("cudart")
    return [f"-I{found}"] if found else []
