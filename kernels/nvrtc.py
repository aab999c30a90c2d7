"""Compilation through NVRTC, the compiler library that comes with PyTorch's CUDA wheels."""

from __future__ import annotations

import ctypes
import importlib.util
from functools import lru_cache
from pathlib import Path

from secateur.kernels.errors import KernelError


@lru_cache(maxsize=1)
def nvrtc_version() -> str | None:
    """`nvrtc 13.2`, or none where the library is not found."""
    library = _library()
    if library is None:
        return None
    major, minor = ctypes.c_int(), ctypes.c_int()
    library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    return f"nvrtc {major.value}.{minor.value}"


def compile_with_nvrtc(
    source: str, text: str, folder: Path, architecture: int, form: str, options: tuple[str, ...]
) -> bytes:
    """The cubin or PTX of the `text` of `source`.

    Headers in `folder` and those of the CUDA runtime's wheel or toolkit are found. Raises `KernelError` with the first
    error of the compiler's log.
    """
    library = _library()
    if library is None:
        raise KernelError("NVRTC was not found: install the package nvidia-cuda-nvrtc or the CUDA toolkit")
    program = ctypes.c_void_p()
    _check(
        library,
        library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), f"{source}.cu".encode(), 0, None, None),
        "create a program",
    )
    try:
        real = "sm" if form == "cubin" else "compute"
        flags = [f"--gpu-architecture={real}_{architecture}", *options, f"-I{folder}"]
        flags += [f"-I{place}" for place in _include_folders()]
        array = (ctypes.c_char_p * len(flags))(*[flag.encode() for flag in flags])
        if library.nvrtcCompileProgram(program, len(flags), array):
            log = _text(library, program, "ProgramLog").decode(errors="replace")
            first = next((line for line in log.splitlines() if "error" in line), log.strip()[:200])
            raise KernelError(f"NVRTC could not compile {source}.cu for sm_{architecture}: {first}")
        image = _text(library, program, "CUBIN" if form == "cubin" else "PTX")
        return image if form == "cubin" else image.rstrip(b"\0")
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _text(library: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    _check(library, getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size)), f"read the {what}")
    buffer = ctypes.create_string_buffer(size.value)
    _check(library, getattr(library, f"nvrtcGet{what}")(program, buffer), f"read the {what}")
    return buffer.raw


def _check(library: ctypes.CDLL, status: int, what: str) -> None:
    if status:
        library.nvrtcGetErrorString.restype = ctypes.c_char_p
        raise KernelError(f"NVRTC could not {what}: {library.nvrtcGetErrorString(status).decode()}")


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL | None:
    names = ["libnvrtc.so", "libnvrtc.so.13", "libnvrtc.so.12"]
    wheels = [str(path) for folder in _wheel_folders() for path in sorted((folder / "lib").glob("libnvrtc.so.*"))]
    for name in [*wheels, *names]:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue  # the next place; none at all is the caller's to report
    return None


def _wheel_folders() -> list[Path]:
    """The folders `nvidia/cu13`, `nvidia/cuda_nvrtc`, ... of NVIDIA's wheels, where they are installed."""
    spec = importlib.util.find_spec("nvidia")
    roots = [Path(root) for root in (spec.submodule_search_locations or [])] if spec else []
    return [folder for root in roots for folder in sorted(root.iterdir()) if (folder / "lib").is_dir()]


def _include_folders() -> list[Path]:
    toolkits = [Path("/usr/local/cuda/include"), *sorted(Path("/usr/local").glob("cuda-*/include"))]
    places = [*(folder / "include" for folder in _wheel_folders()), *toolkits]
    return [place for place in places if (place / "cuda_fp16.h").is_file()][:1]
