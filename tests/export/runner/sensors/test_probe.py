"""Probes: numbers from small files, and why there is none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from secateur.export.runner.sensors.probe import (
    POWER_W,
    Probe,
    SensorError,
    Sensors,
    file_probe,
    joined,
    numbered,
    readable,
)


def test_a_file_is_read_in_its_unit(tmp_path: Path) -> None:
    (tmp_path / "power").write_text("3042\n")
    assert file_probe("rail", POWER_W, tmp_path / "power", 1e-3).read() == pytest.approx(3.042)


@pytest.mark.parametrize(("content", "said"), [("", "holds ''"), ("N/A", "holds 'N/A'"), (None, "cannot be read")])
def test_what_is_no_number_is_said_by_name(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "power").write_text(content)
    found = readable([file_probe("rail", POWER_W, tmp_path / "power")])
    assert not found.probes
    ((name, why),) = found.absent
    assert name == "rail" and said in why


def test_a_file_of_another_user_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*words: object, **keys: object) -> str:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(Path, "read_text", denied)
    with pytest.raises(SensorError, match="owner only"):
        file_probe("rail", POWER_W, tmp_path).read()


def test_the_same_name_twice_gets_a_number() -> None:
    one = Sensors((Probe("rail", POWER_W, lambda: 1.0),))
    assert [probe.name for probe in joined([one, one, one]).probes] == ["rail", "rail 2", "rail 3"]


def test_numbers_in_names_count(tmp_path: Path) -> None:
    for name in ("zone10", "zone2", "zone1"):
        (tmp_path / name).mkdir()
    assert [path.name for path in numbered(tmp_path, "zone*")] == ["zone1", "zone2", "zone10"]
    assert numbered(tmp_path / "none", "*") == []
