"""Hardware as it is found, with and without a driver."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest

from secateur.export import machine
from secateur.export.machine import Gpu


def _tool(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


class FakeDriver:
    """The answers of NVML for two GPUs; `fails` names the calls that raise, each with its error."""

    def __init__(self, fails: dict[str, int]) -> None:
        self.fails = fails
        self.open = 0

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in (
            "nvmlInit", "nvmlShutdown", "nvmlSystemGetDriverVersion", "nvmlDeviceGetCount",
            "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetName", "nvmlDeviceGetCudaComputeCapability",
            "nvmlDeviceGetMemoryInfo",
        ):  # fmt: skip
            assert hasattr(pynvml, name)
            monkeypatch.setattr(pynvml, name, partial(self.answer, name))

    def answer(self, name: str, index: int = 0) -> object:
        if name in self.fails:
            raise pynvml.NVMLError(self.fails[name])
        if name in ("nvmlInit", "nvmlShutdown"):
            self.open += 1 if name == "nvmlInit" else -1
            return None
        assert self.open == 1, f"{name} without nvmlInit"
        return {
            "nvmlSystemGetDriverVersion": "535.104.05",
            "nvmlDeviceGetCount": 2,
            "nvmlDeviceGetHandleByIndex": index,
            "nvmlDeviceGetName": ("NVIDIA RTX A2000", "Orin")[index],
            "nvmlDeviceGetCudaComputeCapability": ((8, 6), (8, 7))[index],
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=6138 << 20),
        }[name]


@pytest.mark.parametrize(
    ("fails", "found"),
    [
        ({}, ("535.104.05", (Gpu("NVIDIA RTX A2000", "sm_86", 6138), Gpu("Orin", "sm_87", 6138)))),
        (
            {"nvmlDeviceGetMemoryInfo": pynvml.NVML_ERROR_NOT_SUPPORTED},
            ("535.104.05", (Gpu("NVIDIA RTX A2000", "sm_86", 0), Gpu("Orin", "sm_87", 0))),
        ),
        ({"nvmlInit": pynvml.NVML_ERROR_LIBRARY_NOT_FOUND}, ("", ())),
        ({"nvmlInit": pynvml.NVML_ERROR_DRIVER_NOT_LOADED}, ("", ())),
        ({"nvmlDeviceGetHandleByIndex": pynvml.NVML_ERROR_GPU_IS_LOST}, ("", ())),
        ({"nvmlDeviceGetMemoryInfo": pynvml.NVML_ERROR_GPU_IS_LOST}, ("", ())),
    ],
)
def test_the_driver_and_its_gpus(fails: dict[str, int], found: object, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = FakeDriver(fails)
    driver.install(monkeypatch)
    assert machine.driver_and_gpus() == found
    assert driver.open == 0  # whatever happened, NVML is left as it was


@pytest.mark.skipif(any(Path("/dev").glob("nvidia*")), reason="there may be a driver here")
def test_no_driver_is_a_finding() -> None:
    assert machine.driver_and_gpus() == ("", ())


def test_nothing_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.nvcc() == ""


def test_nvcc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _tool(tmp_path, "nvcc", "echo 'Cuda compilation tools, release 12.6, V12.6.20'")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    assert machine.nvcc() == "12.6"


def test_this_machine_has_memory() -> None:
    assert machine.memory_mib() > 100
