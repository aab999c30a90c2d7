"""Temperatures and throttling."""

from __future__ import annotations

from pathlib import Path

from secateur.export.runner.sensors.probe import TEMPERATURE_C, THROTTLE_COUNT, THROTTLED
from secateur.export.runner.sensors.thermal import thermal
from tests.export.runner.sensors.stand_ins import ORIN, THERMAL, planted


def test_zones_cooling_devices_and_over_current(tmp_path: Path) -> None:
    found = thermal(planted(tmp_path, ORIN))
    assert [(one.name, one.kind, one.read()) for one in found.probes] == [
        ("cpu-thermal", TEMPERATURE_C, 51.25),
        ("gpu-thermal", TEMPERATURE_C, 48.5),
        ("cpufreq-cpu0 held back", THROTTLED, 0),  # and not the fan
        ("over-current oc1", THROTTLE_COUNT, 0),
        ("over-current oc3", THROTTLE_COUNT, 4),
    ]


def test_a_zone_that_is_switched_off_is_said(tmp_path: Path) -> None:
    planted(tmp_path, {**ORIN, f"{THERMAL}/thermal_zone1/temp": ""})
    found = thermal(tmp_path)
    assert [name for name, _ in found.absent] == ["gpu-thermal"]


def test_no_zone_is_said(tmp_path: Path) -> None:
    assert [name for name, _ in thermal(tmp_path).absent] == ["temperatures"]
