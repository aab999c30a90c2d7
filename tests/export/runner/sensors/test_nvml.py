"""NVML through ctypes, with a stand-in for the library."""

from __future__ import annotations

import pytest

from secateur.export.runner.sensors.nvml import load, nvml
from tests.export.runner.sensors.stand_ins import StandInNvml


def test_every_number_in_its_unit() -> None:
    found = nvml(StandInNvml())
    assert {probe.name: probe.read() for probe in found.probes} == {
        "GPU 0 power": pytest.approx(61.5),
        "GPU 0 energy": pytest.approx(7_000.25),
        "GPU 0 clock": 1410,
        "GPU 0 memory clock": 1215,
        "GPU 0 temperature": 44,
        "GPU 0 held back": 0,  # idle is no limit
    }
    assert not found.absent


@pytest.mark.parametrize(("reasons", "held"), [(0x1, False), (0x2, False), (0x4, True), (0x20, True), (0x41, True)])
def test_reasons_that_hold_back(reasons: int, held: bool) -> None:
    library = StandInNvml()
    library.says["nvmlDeviceGetCurrentClocksThrottleReasons"] = reasons
    probe = nvml(library).probes[-1]
    assert bool(probe.read()) is held


def test_every_gpu_has_its_name() -> None:
    assert {probe.name[:5] for probe in nvml(StandInNvml(gpus=2)).probes} == {"GPU 0", "GPU 1"}


@pytest.mark.parametrize(
    ("function", "code", "named", "why"),
    [
        ("nvmlInit_v2", 9, "GPU by NVML", "no driver"),
        ("nvmlDeviceGetHandleByIndex_v2", 15, "GPU 0 by NVML", "is lost"),
        ("nvmlDeviceGetTotalEnergyConsumption", 3, "GPU 0 energy", "does not have it"),
        ("nvmlDeviceGetPowerUsage", 999, "GPU 0 power", "NVML code 999"),
    ],
)
def test_what_fails_is_said_by_name(function: str, code: int, named: str, why: str) -> None:
    ((name, said),) = nvml(StandInNvml(**{function: code})).absent
    assert name == named and why in said


def test_no_library_is_said() -> None:
    assert load("libno-such-library.so.1") is None
    assert [name for name, _ in nvml(None).absent] == ["GPU by NVML"]
