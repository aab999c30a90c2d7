"""What a device is, and its sensors."""

from __future__ import annotations

from dataclasses import replace

from secateur.export.devices.examine import contents, sensed
from tests.export.devices.stand_in_ssh import StandIn


def test_a_device_says_what_it_is_and_what_it_lacks(stand_in: StandIn) -> None:
    found = contents(stand_in.device)
    assert found.free_bytes > 0 and found.jobs == ()
    bare = replace(found, packages={})
    assert ["NumPy" in line or "no runtime" in line for line in bare.lacks] == [True, True]
    assert replace(found, packages={"numpy": "1.24.4", "tensorrt": "10.3.0"}).lacks == ()


def test_sensors_are_read_there(stand_in: StandIn) -> None:
    found = sensed(stand_in.device)
    assert found.absent or found.probes
