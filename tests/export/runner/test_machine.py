"""The processor, the GPU and what commands print, with stand-ins for the files and the driver that tell."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import pytest

from secateur.export.runner import machine


class Driver:
    """A stand-in for the CUDA driver's library: one Orin, or an error of one call."""

    def __init__(self, fails: str = "") -> None:
        self.fails = fails

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            if name == self.fails:
                return 100
            if name == "cuDeviceGetName":
                arguments[0].value = b"Orin"
            if name == "cuDeviceGetAttribute":
                ctypes.cast(arguments[0], ctypes.POINTER(ctypes.c_int))[0] = {75: 8, 76: 7}[arguments[1]]
            return 0

        return call


def test_the_gpu_and_its_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "load_driver", Driver)
    assert machine.first_gpu() == ("Orin", "sm_87")
    assert machine.this_machine().capability == "sm_87"


@pytest.mark.parametrize("call", ["cuInit", "cuDeviceGet", "cuDeviceGetName", "cuDeviceGetAttribute"])
def test_a_driver_that_fails_shows_no_gpu(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "load_driver", lambda: Driver(call))
    assert machine.first_gpu() == ("", "")


def test_no_driver_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "load_driver", lambda: None)
    assert machine.first_gpu() == ("", "")


def test_this_machine_has_a_processor() -> None:
    found = machine.this_machine()
    assert found.cpu_model and found.cores >= 1 and "-" in found.platform


@pytest.mark.parametrize(("script", "said"), [("echo ' one '", "one"), ("echo one; exit 3", ""), ("exit 0", "")])
def test_what_a_command_prints(script: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "teller"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert machine.printed("teller") == said


def test_a_command_that_is_not_installed_prints_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.printed("nvcc") == ""


def test_the_name_of_the_processor(tmp_path: Path) -> None:
    intel, arm, board, none = (tmp_path / name for name in ("intel", "arm", "board", "none"))
    intel.write_text("processor : 0\nmodel name\t: Some  CPU @ 2 GHz\n")
    arm.write_text("processor : 0\nBogoMIPS : 62.5\n")
    board.write_bytes(b"NVIDIA Jetson AGX Orin\0")
    assert machine.cpu_name(intel, none) == "Some CPU @ 2 GHz"
    assert machine.cpu_name(arm, board) == "NVIDIA Jetson AGX Orin"
    assert machine.cpu_name(none, none)
