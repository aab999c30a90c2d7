"""What the driver says, by a stand-in library, and which drivers read which PTX."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from secateur.core.errors import KernelError
from secateur.kernels import driver
from secateur.kernels.compile import compile_kernel, find_nvcc
from secateur.kernels.driver import device_capability, driver_cuda, ptx_cuda, require_driver_for


class Library:
    """`libcuda.so.1` of a driver of CUDA 12.8 with one device of capability 8.7; `fails` names the call that fails."""

    def __init__(self, fails: str = "") -> None:
        self.fails = fails

    def answer(self, name: str, place: Any = None, value: int = 0) -> int:
        if name != self.fails and place is not None:
            ctypes.cast(place, ctypes.POINTER(ctypes.c_int))[0] = value
        return int(name == self.fails)

    def cuInit(self, flags: int) -> int:  # the driver's name, as all below
        return self.answer("cuInit")

    def cuDriverGetVersion(self, place: Any) -> int:
        return self.answer("cuDriverGetVersion", place, 12080)

    def cuDeviceGet(self, place: Any, index: int) -> int:
        return self.answer("cuDeviceGet", place, index)

    def cuDeviceGetAttribute(self, place: Any, kind: int, device: object) -> int:
        return self.answer("cuDeviceGetAttribute", place, {75: 8, 76: 7}[kind])


def install(monkeypatch: pytest.MonkeyPatch, library: Library | None) -> None:
    def load(name: str) -> Library:
        assert name == "libcuda.so.1"
        if library is None:
            raise OSError("cannot open shared object file")
        return library

    monkeypatch.setattr(driver.ctypes, "CDLL", load)


def test_the_driver_says_its_cuda_and_what_its_device_can_do(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Library())
    assert (driver_cuda(), device_capability()) == ((12, 8), 87)
    install(monkeypatch, Library("cuDriverGetVersion"))
    assert driver_cuda() is None
    install(monkeypatch, None)
    assert driver_cuda() is None


@pytest.mark.parametrize("fails", ["no driver", "cuInit", "cuDeviceGet", "cuDeviceGetAttribute"])
def test_without_a_device_no_kernel_is_chosen_for_one(monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    install(monkeypatch, None if fails == "no driver" else Library(fails))
    with pytest.raises(
        KernelError, match=r"the NVIDIA driver shows no CUDA device, .*: build the engine where its GPU is"
    ):
        device_capability()


@pytest.mark.parametrize(
    ("version", "cuda"),
    [
        ("7.8", (11, 8)), ("8.0", (12, 0)), ("8.5", (12, 5)), ("8.6", (12, 7)), ("8.8", (12, 9)), ("9.0", (13, 0)),
        ("9.2", (13, 2)),
    ],
)  # fmt: skip
def test_the_version_of_ptx_names_the_first_cuda_that_reads_it(
    monkeypatch: pytest.MonkeyPatch, version: str, cuda: tuple[int, int]
) -> None:
    ptx = f"// made\n.version {version}\n.target sm_80\n".encode()
    assert ptx_cuda(ptx) == cuda
    for known in (None, cuda, (cuda[0] + 1, 0)):
        monkeypatch.setattr(driver, "driver_cuda", lambda known=known: known)
        require_driver_for(ptx)
    monkeypatch.setattr(driver, "driver_cuda", lambda: (cuda[0], cuda[1] - 1) if cuda[1] else (cuda[0] - 1, 9))
    with pytest.raises(KernelError, match=f"needs a driver of CUDA {cuda[0]}.{cuda[1]}, and this one knows"):
        require_driver_for(ptx)


def test_ptx_without_a_version_is_refused() -> None:
    with pytest.raises(KernelError, match="names no version: empty the kernel cache"):
        ptx_cuda(b"// .version 8.0 in a comment")


@pytest.mark.skipif(find_nvcc() is None, reason="nvcc is not on this machine")
def test_the_compilers_own_ptx_needs_the_cuda_that_it_is_of() -> None:
    made = compile_kernel("bias_gelu", 75, "ptx", kernel="bias_gelu_fp32")
    assert ptx_cuda(made.image) == tuple(int(part) for part in made.compiler.split()[-1].split(".")[:2])
