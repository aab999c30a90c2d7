"""Several sessions of one model that run at the same time, each in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Protocol

from secateur.benchmarks.latency import Clock, CpuClock, Timed


class Session(Timed, Protocol):
    """Something timed whose work can be waited for."""

    def wait(self) -> None:
        """Returns when the work of the last run is done."""
        ...


class ShareClock:
    """Wall-clock milliseconds of one of the `runs` that one call does after another."""

    def __init__(self, runs: int) -> None:
        self._clock: Clock = CpuClock()
        self._runs = runs

    def time_ms(self, run: Callable[[], object]) -> float:
        """The milliseconds of a call, divided by its runs."""
        return self._clock.time_ms(run) / self._runs


class Together:
    """All `sessions` at once: a run starts `runs` of each, one after another, and returns when the last is done.

    Each has a thread of its own, which waits for a run before it starts the next, as a server's thread does. So with
    one run it is the latency that the slowest of several callers sees, and with many the time in which every session
    does one: their number times the batch, divided by it, is the throughput. An error of a session is raised.
    """

    def __init__(self, sessions: Sequence[Session], runs: int = 1) -> None:
        self.clock: Clock = ShareClock(runs)
        self._sessions = sessions
        self._runs = runs
        self._threads = [ThreadPoolExecutor(1) for _ in sessions]

    def run(self) -> None:
        """Starts all sessions and waits for them."""
        started = [
            thread.submit(self._repeat, session) for thread, session in zip(self._threads, self._sessions, strict=True)
        ]
        for one in started:
            one.result()

    def _repeat(self, session: Session) -> None:
        for _ in range(self._runs):
            session.run()
            session.wait()

    def close(self) -> None:
        """Ends the threads and closes the sessions."""
        with ExitStack() as stack:
            for session in self._sessions:
                stack.enter_context(closing(session))
            for thread in self._threads:
                thread.shutdown()
