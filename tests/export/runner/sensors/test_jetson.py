"""Power modes, and clocks that are pinned."""

from __future__ import annotations

from pathlib import Path

import pytest

from secateur.export.runner.sensors import jetson as module
from secateur.export.runner.sensors.jetson import ask_nvpmodel, jetson, power_mode
from secateur.export.runner.sensors.probe import SensorError
from tests.export.runner.sensors.stand_ins import CPUFREQ, GPU, ORIN, planted

SAID = "NVPM WARN: fan mode is not set!\nNV Power Mode: MAXN\n0\n"


def test_the_mode_has_a_name_and_a_number() -> None:
    assert power_mode(SAID) == "MAXN (0)"


@pytest.mark.parametrize(
    ("said", "why"), [(None, "no program"), ("", "names no mode"), ("NV Power Mode: X", "names no")]
)
def test_anything_else_is_no_mode(said: str | None, why: str) -> None:
    with pytest.raises(SensorError, match=why):
        power_mode(said)


@pytest.mark.parametrize("pinned", [True, False])
def test_pinned_clocks_have_one_value(tmp_path: Path, pinned: bool) -> None:
    least = {f"{GPU}/min_freq": "918000000", f"{CPUFREQ}/policy0/scaling_min_freq": "1984000"}
    found = jetson(planted(tmp_path, {**ORIN, **(least if pinned else {})}), lambda: SAID)
    assert dict(found.settings) == {"nvpmodel": "MAXN (0)", "jetson_clocks": "on" if pinned else "off"}


def test_no_jetson_is_said(tmp_path: Path) -> None:
    assert [name for name, _ in jetson(tmp_path, lambda: None).absent] == ["nvpmodel", "jetson_clocks"]


@pytest.mark.parametrize(
    ("script", "said"), [(f"printf '{SAID}'", SAID), ("echo broken >&2; exit 3", "broken"), (None, None)]
)
def test_the_program_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, said: str | None
) -> None:
    path = tmp_path / "nvpmodel"
    if script is not None:
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    monkeypatch.setattr(module.shutil, "which", lambda name, path=None: str(tmp_path / name) if script else None)
    if said == "broken":
        with pytest.raises(SensorError, match="broken"):
            ask_nvpmodel()
    else:
        assert ask_nvpmodel() == said
