"""Work with the sensors of a stand-in read beside it."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import pytest

from secateur.export.runner.sensors import watched as module
from secateur.export.runner.sensors.watched import watched
from secateur.export.runner.sensors.watcher import Watcher
from tests.export.runner.sensors.stand_ins import ORIN, planted


@pytest.fixture
def watchers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Watcher]:
    """Those that were started, on a machine with the sensors of an Orin."""
    found: list[Watcher] = []

    class Kept(Watcher):
        def __enter__(self) -> Watcher:
            found.append(self)
            return super().__enter__()

    monkeypatch.setattr(module, "Watcher", partial(Kept, root=planted(tmp_path, ORIN)))
    monkeypatch.setattr(module, "INTERVAL", 0.01)
    return found


def test_what_the_work_gives_and_what_the_device_was_like(watchers: list[Watcher]) -> None:
    found, seen = watched(lambda: 7)
    assert (found, seen.clean, seen.energy) == (7, True, ())
    assert seen.settings["jetson_clocks"] == "off" and "nvpmodel" in seen.absent
    kinds = {reading.kind for reading in seen.readings}
    assert kinds == {"clock_mhz", "temperature_c", "power_w"}


def test_a_watcher_that_dies_during_the_work_certifies_nothing(watchers: list[Watcher]) -> None:
    def work() -> None:
        (watcher,) = watchers
        assert watcher.process is not None
        os.kill(watcher.process.pid, signal.SIGKILL)
        watcher.process.wait()

    _, seen = watched(work)
    assert not seen.clean and any("died" in fault for fault in seen.faults)


def test_work_that_fails_ends_the_watcher(watchers: list[Watcher]) -> None:
    with pytest.raises(ZeroDivisionError):
        watched(lambda: 1 // 0)
    (watcher,) = watchers
    assert watcher.process is not None and watcher.process.poll() == 0
