"""A machine whose time is simulated, and work for it."""

from __future__ import annotations

from collections.abc import Callable


class Machine:
    """A clock that only simulated work moves on, and a speed that changes with it."""

    def __init__(self, slowdown: Callable[[float], float] = lambda now: 1.0) -> None:
        self.now = 0.0
        self.slowdown = slowdown
        self.order: list[str] = []

    def time_ms(self, run: Callable[[], object]) -> float:
        before = self.now
        run()
        self.order[-1] = self.order[-1].upper()
        return self.now - before


class Work:
    """A side that takes `ms` on a machine at rest; timed runs are in capitals in the machine's order."""

    def __init__(self, name: str, ms: float, machine: Machine) -> None:
        self.name, self.ms, self.clock = name, ms, machine

    def run(self) -> None:
        self.clock.order.append(self.name)
        self.clock.now += self.ms * self.clock.slowdown(self.clock.now)

    def close(self) -> None:
        pass
