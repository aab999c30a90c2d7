"""NVIDIA's management library through ctypes: power, energy, clocks, temperature and throttling of a GPU.

Source: NVML API Reference Guide. The library comes with the driver; no package is needed.
"""

from __future__ import annotations

import ctypes
from typing import Any, Callable

from .probe import (
    CLOCK_MHZ,
    ENERGY_J,
    POWER_W,
    TEMPERATURE_C,
    THROTTLED,
    Probe,
    SensorError,
    Sensors,
    readable,
)

LIBRARY = "libnvidia-ml.so.1"
ERRORS = {
    2: "an argument is not valid",
    3: "this GPU does not have it",
    4: "no permission",
    9: "no driver",
    15: "the GPU is lost",
}
SLOWED = 0x4 | 0x8 | 0x20 | 0x40 | 0x80
"""Reasons for lower clocks that are a limit: power cap, hardware slowdown, thermal slowdowns, power brake."""


def load(name: str = LIBRARY) -> Any | None:
    """The library, or None where there is none."""
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


def nvml(library: Any | None) -> Sensors:
    """Every GPU's probes; the library stays initialised as long as the process."""
    if library is None:
        return Sensors(absent=(("GPU by NVML", f"there is no {LIBRARY}: no NVIDIA driver"),))
    count = ctypes.c_uint()
    try:
        _check(library.nvmlInit_v2(), "nvmlInit")
        _check(library.nvmlDeviceGetCount_v2(ctypes.byref(count)), "nvmlDeviceGetCount")
    except SensorError as error:
        return Sensors(absent=(("GPU by NVML", str(error)),))
    probes: list[Probe] = []
    absent: list[tuple[str, str]] = []
    for index in range(count.value):
        handle = ctypes.c_void_p()
        try:
            _check(library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)), "nvmlDeviceGetHandleByIndex")
        except SensorError as error:
            absent.append((f"GPU {index} by NVML", str(error)))
            continue
        probes += _probes(library, index, handle)
    return readable(probes, absent)


def _probes(library: Any, index: int, handle: Any) -> list[Probe]:
    def asked(function: str, kind: Any, *words: int) -> Callable[[], int]:
        def read() -> int:
            value = kind()
            arguments = [ctypes.c_uint(word) for word in words]
            _check(getattr(library, function)(handle, *arguments, ctypes.byref(value)), function)
            return int(value.value)

        return read

    power = asked("nvmlDeviceGetPowerUsage", ctypes.c_uint)
    energy = asked("nvmlDeviceGetTotalEnergyConsumption", ctypes.c_ulonglong)
    reasons = asked("nvmlDeviceGetCurrentClocksThrottleReasons", ctypes.c_ulonglong)
    graphics = asked("nvmlDeviceGetClockInfo", ctypes.c_uint, 1)
    memory = asked("nvmlDeviceGetClockInfo", ctypes.c_uint, 2)
    temperature = asked("nvmlDeviceGetTemperature", ctypes.c_uint, 0)
    name = f"GPU {index}"
    return [
        Probe(f"{name} power", POWER_W, lambda: power() * 1e-3),
        Probe(f"{name} energy", ENERGY_J, lambda: energy() * 1e-3),
        Probe(f"{name} clock", CLOCK_MHZ, lambda: float(graphics())),
        Probe(f"{name} memory clock", CLOCK_MHZ, lambda: float(memory())),
        Probe(f"{name} temperature", TEMPERATURE_C, lambda: float(temperature())),
        Probe(f"{name} held back", THROTTLED, lambda: float(reasons() & SLOWED)),
    ]


def _check(code: int, function: str) -> None:
    if code:
        raise SensorError(f"{function}: {ERRORS.get(code, 'error')} (NVML code {code})")
