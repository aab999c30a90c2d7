"""Modes on a device: what is within a time, what comes before it, and that all is closed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secateur.export.runner import modes
from secateur.export.runner.bench import measure
from secateur.export.runner.errors import UnavailableError
from secateur.export.runner.modes import Timeable, in_mode
from secateur.export.runner.runtimes import Model


class Counted(Model):
    """A model that notes what is done with it."""

    def __init__(self, seen: list[str]) -> None:
        self.seen = seen

    def _run(self, feeds: Any) -> dict[str, np.ndarray[Any, Any]]:
        self.seen.append("copied")
        return {}

    def _prepare(self, feeds: Any) -> Callable[[], None]:
        return lambda: self.seen.append("run")

    def close(self) -> None:
        self.seen.append("closed")


def opened(word: str, seen: list[str]) -> Timeable:
    return in_mode(word, lambda: Counted(seen), lambda model: {})


@pytest.mark.parametrize(
    ("word", "runs", "sessions"),
    [
        ("hot", ["run"], 1),
        ("copies", ["copied"], 1),
        ("concurrent:3", ["run"] * 3, 3),
        ("throughput:2", ["run"] * 2 * modes.RUNS, 2),
    ],
)
def test_what_one_time_is_of(word: str, runs: list[str], sessions: int) -> None:
    seen: list[str] = []
    found = opened(word, seen)
    found.call()
    assert seen == runs
    assert found.runs * sessions == len(runs)
    found.close()
    assert seen[len(runs) :] == ["closed"] * sessions


def test_caches_are_overwritten_before_each_timed_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(modes, "flushed_bytes", lambda: 1000)
    monkeypatch.setattr(modes.np, "add", lambda buffer, one, out: seen.append("flush"))
    found = opened("cold", seen)
    times = measure(found.call, None, 1e-9, 20, before=found.before)
    assert seen[-40:] == ["flush", "run"] * 20 and seen.count("flush") == len(times.pruned_ns) == 20


def test_an_error_of_a_session_is_raised_and_a_time_is_shared_by_its_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secateur.export.runner.bench._timed", lambda call: 160)
    assert set(measure(lambda: None, None, 1e-9, 20, runs=16).pruned_ns) == {10}

    class Broken(Counted):
        """Fails in its run."""

        def _prepare(self, feeds: Any) -> Callable[[], None]:
            def call() -> None:
                raise ValueError("broken")

            return call

    found = in_mode("concurrent:2", lambda: Broken([]), lambda model: {})
    with pytest.raises(ValueError, match="broken"):
        found.call()
    found.close()


def test_what_fails_closes_what_is_open() -> None:
    seen: list[str] = []

    def feeds(model: Model) -> dict[str, np.ndarray[Any, Any]]:
        if seen:
            raise UnavailableError("no such batch")
        seen.append("fed")
        return {}

    with pytest.raises(UnavailableError, match="no such batch"):
        in_mode("concurrent:3", lambda: Counted(seen), feeds)
    assert seen == ["fed", "closed", "closed"]
    with pytest.raises(UnavailableError, match="no such batch"):
        in_mode("hot", lambda: Counted(seen), feeds)
    with pytest.raises(UnavailableError, match="the mode graph is not measured on a device"):
        opened("graph", seen)


def test_the_size_of_what_is_overwritten(tmp_path: Path) -> None:
    assert modes.flushed_bytes(tmp_path) == modes.UNKNOWN_BYTES
