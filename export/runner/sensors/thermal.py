"""Temperatures, and what holds the device back because of them.

Sources: Documentation/driver-api/thermal/sysfs-api.rst of Linux; NVIDIA's Jetson Linux Developer Guide for the
over-current events of `soctherm_oc`.
"""

from __future__ import annotations

from pathlib import Path

from .probe import (
    TEMPERATURE_C,
    THROTTLE_COUNT,
    THROTTLED,
    Probe,
    SensorError,
    Sensors,
    file_probe,
    numbered,
    readable,
    text,
)

MILLI = 1e-3


def thermal(root: Path) -> Sensors:
    """Zones in °C, the states of cooling devices that slow something down, and events of over-current protection.

    A fan is a cooling device too, but takes nothing from the speed.
    """
    probes: list[Probe] = []
    absent: list[tuple[str, str]] = []
    folder = root / "sys/class/thermal"
    zones = numbered(folder, "thermal_zone*")
    if not zones:
        absent.append(("temperatures", f"there is no {folder}/thermal_zone*"))
    for zone in zones:
        probes.append(file_probe(_type(zone), TEMPERATURE_C, zone / "temp", MILLI))
    for device in numbered(folder, "cooling_device*"):
        if "fan" not in _type(device).lower():
            probes.append(file_probe(f"{_type(device)} held back", THROTTLED, device / "cur_state"))
    for chip in numbered(root / "sys/class/hwmon", "hwmon*"):
        for count in numbered(chip, "oc*_event_cnt"):
            probes.append(file_probe(f"over-current {count.name.split('_')[0]}", THROTTLE_COUNT, count))
    return readable(probes, absent)


def _type(path: Path) -> str:
    try:
        return text(path / "type")
    except SensorError:  # the number of the zone names it as well
        return path.name
