"""The lines that the watching process writes."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from secateur.export.runner.sensors import watch
from secateur.export.runner.sensors.probe import POWER_W, Probe, SensorError, Sensors
from tests.export.runner.sensors.stand_ins import ORIN, planted


def test_a_round_says_why_a_value_is_missing() -> None:
    def broken() -> float:
        raise SensorError("gone")

    found = watch.round_of(Sensors((Probe("a", POWER_W, lambda: 2.0), Probe("b", POWER_W, broken))))
    assert found["values"] == [2.0, None] and found["failed"] == {"b": "gone"}


def test_it_ends_with_its_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "rounds.jsonl"
    with (tmp_path / "empty").open("w+") as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        watch.main(["--out", str(out), "--interval", "60", "--root", str(planted(tmp_path, ORIN))])
    lines = [json.loads(line) for line in io.StringIO(out.read_text())]
    assert ["VDD_IN", POWER_W, 0.0] in lines[0]["probes"]
    assert [sorted(line) for line in lines[2:4]] == [["failed", "t", "values"]] * 2
    assert lines[-1]["end"] is True
