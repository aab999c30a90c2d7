"""All sensors of a machine together."""

from __future__ import annotations

from pathlib import Path

from secateur.export.runner.sensors.inventory import inventory
from tests.export.runner.sensors.stand_ins import INTEL, ORIN, StandInNvml, planted


def test_all_sources_are_asked(tmp_path: Path) -> None:
    root = planted(tmp_path, {**ORIN, **INTEL})
    found = inventory(root, StandInNvml(), lambda: "NV Power Mode: 15W\n2\n")
    names = {probe.name for probe in found.probes}
    assert {"cpu policy0", "gpu 17000000.gpu", "cpu-thermal", "VDD_IN", "RAPL package-0", "GPU 0 energy"} <= names
    assert dict(found.settings)["nvpmodel"] == "15W (2)"
    assert not found.absent


def test_a_machine_with_nothing_says_so_by_name(tmp_path: Path) -> None:
    found = inventory(tmp_path, StandInNvml(nvmlInit_v2=9), lambda: None)
    assert not found.probes and len(found.absent) == 8
