"""Energy counters of processors."""

from __future__ import annotations

from pathlib import Path

import pytest

from secateur.export.runner.sensors.rapl import rapl
from tests.export.runner.sensors.stand_ins import INTEL, RAPL, planted


def test_packages_are_counted_and_their_parts_are_not(tmp_path: Path) -> None:
    (probe,) = rapl(planted(tmp_path, INTEL)).probes
    assert (probe.name, probe.read()) == ("RAPL package-0", pytest.approx(261_000.0))
    assert probe.wraps_at == pytest.approx(262_143.32885)


def test_a_counter_that_only_root_may_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted(tmp_path, INTEL)
    real = Path.read_text

    def guarded(path: Path, *words: object, **keys: object) -> str:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return real(path, *words, **keys)  # type: ignore[arg-type]  # handed on as they came

    monkeypatch.setattr(Path, "read_text", guarded)
    found = rapl(tmp_path)
    assert not found.probes
    ((name, why),) = found.absent
    assert name == "RAPL package-0" and "run as root" in why


def test_a_counter_without_its_range_is_not_used(tmp_path: Path) -> None:
    planted(tmp_path, INTEL)
    (tmp_path / RAPL / "intel-rapl:0/max_energy_range_uj").unlink()
    assert [name for name, _ in rapl(tmp_path).absent] == ["energy of the processor (intel-rapl:0)"]


def test_no_counter_is_said(tmp_path: Path) -> None:
    assert [name for name, _ in rapl(tmp_path).absent] == ["energy of the processor (RAPL)"]
