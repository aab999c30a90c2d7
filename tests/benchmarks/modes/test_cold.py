"""Cold runs: a flush before each one, outside of its time, of twice what the caches hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from secateur.benchmarks.modes import cold
from secateur.benchmarks.modes.cold import ColdClock, flusher
from secateur.export.runner.modes import UNKNOWN_BYTES, flushed_bytes
from tests.benchmarks.machines import Machine, Work


def test_a_flush_is_before_each_run_and_not_in_its_time() -> None:
    machine = Machine()
    flush, model = Work("f", 50, machine), Work("m", 2, machine)
    clock = ColdClock(machine, flush.run)
    assert [clock.time_ms(model.run) for _ in range(2)] == [2, 2]
    assert machine.order == ["f", "M", "f", "M"]


def test_twice_the_largest_cache_is_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for index, size in enumerate(("32K", "2M", "48M\n")):
        (tmp_path / f"index{index}").mkdir()
        (tmp_path / f"index{index}" / "size").write_text(size)
    assert flushed_bytes(tmp_path) == 96 * 2**20
    assert flushed_bytes(tmp_path / "absent") == UNKNOWN_BYTES
    monkeypatch.setattr(cold, "flushed_bytes", lambda: 1000)
    flush = flusher("cpu")
    assert flush().sum() == 1000 and flush().sum() == 2000  # type: ignore[attr-defined]  # the buffer
