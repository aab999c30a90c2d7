"""A watcher beside a run: what it saw, and that it never certifies what it did not see."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from secateur.export.runner.sensors.probe import CLOCK_MHZ, POWER_W, SensorError
from secateur.export.runner.sensors.watcher import GAP, Log, Watcher, read_log
from tests.export.runner.sensors.stand_ins import GPU, ORIN, planted

SEEN = Log(
    (), tuple(0.1 * step for step in range(101)), {"nvpmodel": "MAXN (0)"}, {"nvpmodel": "MAXN (0)"}, {}, {}, True
)


def test_a_run_that_was_watched_has_no_fault(tmp_path: Path) -> None:
    planted(tmp_path, ORIN)
    with Watcher(0.01, tmp_path) as watcher:
        assert {POWER_W, CLOCK_MHZ} <= watcher.kinds
        start = time.monotonic()
        time.sleep(0.1)
        (tmp_path / GPU / "cur_freq").write_text("306000000\n")
        time.sleep(0.1)
        end = time.monotonic()
    log = watcher.log
    assert log is not None and log.faults(start, end) == []
    (clock,) = [one for one in log.series if one.name == "gpu 17000000.gpu"]
    assert {*clock.values} == {918.0, 306.0} and list(clock.times) == sorted(clock.times)
    assert "nvpmodel" in log.absent


def test_a_watcher_that_died_certifies_nothing(tmp_path: Path) -> None:
    with Watcher(0.01, planted(tmp_path, ORIN)) as watcher:
        start = time.monotonic()
        assert watcher.process is not None
        os.kill(watcher.process.pid, signal.SIGKILL)
        watcher.process.wait()
        end = start + 2 * GAP
    assert watcher.log is not None
    died, unread = watcher.log.faults(start, end)
    assert "died" in died and "not read for" in unread


def test_a_watcher_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(SensorError, match="does not start"), Watcher(0.01, tmp_path):
        pass


def test_it_saw_everything() -> None:
    assert SEEN.faults(1.0, 9.0) == []


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (replace(SEEN, rounds=tuple(at for at in SEEN.rounds if not 4 < at < 5.5)), "were not read for 1.5 s"),
        (replace(SEEN, rounds=SEEN.rounds[:60]), "were not read for 3.1 s"),
        (replace(SEEN, rounds=SEEN.rounds[40:]), "were not read for 3.0 s"),
        (replace(SEEN, rounds=()), "were not read for 8.0 s"),
        (replace(SEEN, failed={"VDD_IN": "gone"}), "VDD_IN could not be read in some rounds: gone"),
        (replace(SEEN, settings_after={"nvpmodel": "15W (2)"}), "nvpmodel changed from MAXN (0) to 15W (2)"),
        (replace(SEEN, whole=False), "died"),
    ],
)
def test_what_spoils_a_run(log: Log, said: str) -> None:
    (fault,) = log.faults(1.0, 9.0)
    assert said in fault


def test_a_line_that_was_cut_is_left_out() -> None:
    lines = [
        {"probes": [["a", "power_w", 0.0]]},
        {"settings": [], "absent": []},
        {"t": 1.0, "values": [2.0], "failed": {}},
    ]
    log = read_log("\n".join(map(json.dumps, lines)) + '\n{"t": 1.1, "val', ended=True)
    assert log.rounds == (1.0,) and log.series[0].values == (2.0,) and not log.whole
