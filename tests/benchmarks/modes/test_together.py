"""Sessions at once: all in flight together, the time until the last is done, and everything closed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from secateur.benchmarks.latency import CpuClock
from secateur.benchmarks.modes.together import ShareClock, Together


@dataclass
class Session:
    """A run that is over when all others are at the same place, so that it never ends where they run in turn."""

    meeting: threading.Barrier
    calls: list[str] = field(default_factory=list)
    clock = CpuClock()
    broken: bool = False

    def run(self) -> None:
        if self.broken:
            raise RuntimeError("out of memory")
        self.meeting.wait(timeout=5)
        self.calls.append("run")

    def wait(self) -> None:
        self.calls.append("wait")

    def close(self) -> None:
        self.calls.append("close")


@pytest.mark.parametrize("runs", [1, 3])
def test_all_sessions_run_at_once_and_wait_for_each_run(runs: int) -> None:
    meeting = threading.Barrier(3)
    sessions = [Session(meeting) for _ in range(3)]
    together = Together(sessions, runs)
    assert together.clock.time_ms(together.run) > 0
    together.close()
    assert all(session.calls == [*["run", "wait"] * runs, "close"] for session in sessions)


def test_an_error_of_a_session_is_raised_and_all_are_closed() -> None:
    sessions = [Session(threading.Barrier(1)), Session(threading.Barrier(1), broken=True)]
    together = Together(sessions)
    with pytest.raises(RuntimeError, match="out of memory"):
        together.run()
    together.close()
    assert all(session.calls[-1] == "close" for session in sessions)


def test_a_share_is_that_of_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def whole(self: CpuClock, run: Callable[[], object]) -> float:
        return 48.0

    monkeypatch.setattr(CpuClock, "time_ms", whole)
    assert ShareClock(16).time_ms(lambda: None) == 3.0
