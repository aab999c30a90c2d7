"""Power rails of Jetsons, by both drivers."""

from __future__ import annotations

from pathlib import Path

import pytest

from secateur.export.runner.sensors.ina3221 import ina3221
from tests.export.runner.sensors.stand_ins import HWMON, OLD_BUS, OLD_JETSON, ORIN, planted


def test_rails_of_hwmon_are_volts_times_amperes(tmp_path: Path) -> None:
    found = ina3221(planted(tmp_path, ORIN))
    assert {one.name: one.read() for one in found.probes} == {
        "VDD_IN": pytest.approx(5.080 * 1.250),
        "VDD_CPU_GPU_CV": pytest.approx(5.072 * 0.320),
    }


def test_rails_of_the_older_driver(tmp_path: Path) -> None:
    found = ina3221(planted(tmp_path, OLD_JETSON))
    assert {one.name: one.read() for one in found.probes} == {
        "POM_5V_IN": pytest.approx(3.042),
        "POM_5V_GPU": pytest.approx(0.121),
    }


@pytest.mark.parametrize(
    ("tree", "gone", "named"),
    [
        (ORIN, f"{HWMON}/hwmon1/curr2_input", "VDD_CPU_GPU_CV"),
        (OLD_JETSON, f"{OLD_BUS}/in_power1_input", "POM_5V_GPU"),
        ({}, None, "power rails (INA3221)"),
    ],
)
def test_what_cannot_be_read_is_said_by_name(
    tmp_path: Path, tree: dict[str, str], gone: str | None, named: str
) -> None:
    planted(tmp_path, tree)
    if gone:
        (tmp_path / gone).unlink()
    assert [name for name, _ in ina3221(tmp_path).absent] == [named]


def test_a_channel_without_a_label_has_its_number(tmp_path: Path) -> None:
    planted(tmp_path, ORIN)
    (tmp_path / HWMON / "hwmon1/in1_label").unlink()
    assert ina3221(tmp_path).probes[0].name == "hwmon1 channel 1"
