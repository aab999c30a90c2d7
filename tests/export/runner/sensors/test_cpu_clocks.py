"""Clocks and governors of processors."""

from __future__ import annotations

from pathlib import Path

from secateur.export.runner.sensors.cpu_clocks import cpu_clocks
from secateur.export.runner.sensors.probe import CLOCK_MHZ, THROTTLE_COUNT
from tests.export.runner.sensors.stand_ins import CPUFREQ, INTEL, ORIN, planted


def test_a_policy_has_a_clock_and_a_governor(tmp_path: Path) -> None:
    found = cpu_clocks(planted(tmp_path, ORIN))
    assert [(one.name, one.kind, one.read()) for one in found.probes] == [("cpu policy0", CLOCK_MHZ, 1190.4)]
    assert dict(found.settings) == {
        "cpu policy0 scaling_governor": "schedutil",
        "cpu policy0 scaling_min_freq": "729600",
        "cpu policy0 scaling_max_freq": "1984000",
    }
    assert not found.absent


def test_throttling_is_counted_and_missing_clocks_are_said(tmp_path: Path) -> None:
    found = cpu_clocks(planted(tmp_path, INTEL))
    assert {one.name: one.read() for one in found.probes} == {"cpu0 core throttling": 0, "cpu0 package throttling": 7}
    assert {one.kind for one in found.probes} == {THROTTLE_COUNT}
    assert [name for name, _ in found.absent] == ["cpu clocks"]


def test_a_governor_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    planted(tmp_path, ORIN)
    (tmp_path / CPUFREQ / "policy0/scaling_governor").unlink()
    found = cpu_clocks(tmp_path)
    assert [name for name, _ in found.absent] == ["cpu policy0 scaling_governor"]
