"""Hardware as it is found, with and without a driver."""

from __future__ import annotations

from pathlib import Path

import pytest

from secateur.export import machine
from secateur.export.machine import Gpu


def _tool(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("script", "found"),
    [
        (
            "echo '535.104.05, NVIDIA RTX A2000, 8.6, 6138'; echo '535.104.05, Orin, 8.7, [N/A]'",
            ("535.104.05", (Gpu("NVIDIA RTX A2000", "sm_86", 6138), Gpu("Orin", "sm_87", 0))),
        ),
        ("echo 'NVIDIA-SMI has failed'; exit 9", ("", ())),
        ("echo 'No devices were found'", ("", ())),
        ("exit 0", ("", ())),
    ],
)
def test_nvidia_smi(script: str, found: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _tool(tmp_path, "nvidia-smi", script)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert machine.nvidia_smi() == found


def test_nothing_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.nvidia_smi() == ("", ())
    assert machine.nvcc() == ""


def test_nvcc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _tool(tmp_path, "nvcc", "echo 'Cuda compilation tools, release 12.6, V12.6.20'")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    assert machine.nvcc() == "12.6"


def test_this_machine_has_a_processor() -> None:
    assert machine.cpu_name()
    assert machine.cpu_count() >= 1
    assert machine.memory_mib() > 100
