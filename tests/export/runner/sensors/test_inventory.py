"""All sensors of a machine together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from secateur.export.runner.sensors import inventory as module
from secateur.export.runner.sensors.inventory import inventory, main
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


def test_it_is_written_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = planted(tmp_path, ORIN)
    monkeypatch.setattr(module, "inventory", lambda: inventory(root, StandInNvml(), lambda: None))
    main(tmp_path / "sensors.json")
    found = json.loads((tmp_path / "sensors.json").read_text())
    assert ["gpu-thermal", "temperature_c", 48.5] in found["probes"]
    assert found["settings"]["jetson_clocks"] == "off" and "nvpmodel" in found["absent"]
