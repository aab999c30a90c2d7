"""Processes that do the same: every other one is turned, and none outlives who started it."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from secateur.benchmarks import processes
from secateur.benchmarks.processes import in_processes, prefixed
from secateur.core.errors import BenchError, ExportError
from secateur.core.say import Say


def test_one_process_is_this_one() -> None:
    def work(say: Say, turned: bool) -> tuple[int, bool]:
        say("here")
        return os.getpid(), turned

    said: list[str] = []
    assert in_processes(1, work, said.append) == [(os.getpid(), False)]
    prefixed(said.append, "a")("b")
    assert said == ["here", "a: b"]


def test_a_process_whose_parent_has_ended_follows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    stdin, parent = os.pipe()
    follower = threading.Thread(target=processes._end_with_parent, args=(tmp_path / "job", stdin))
    (tmp_path / "job").mkdir()
    follower.start()
    follower.join(0.05)
    assert follower.is_alive() and not ended
    os.close(parent)
    follower.join(10)
    os.close(stdin)
    assert ended == [1] and not (tmp_path / "job").exists()


def test_every_other_process_is_turned_and_travels_with_its_code() -> None:
    def work(say: Say, turned: bool) -> tuple[int, bool]:  # no module to import it from
        say("there")
        return os.getpid(), turned

    said: list[str] = []
    found = in_processes(3, work, said.append)
    assert [turned for _, turned in found] == [False, True, False]
    assert len({os.getpid(), *(process for process, _ in found)}) == 4
    assert said == [f"process {number} of 3: there" for number in (1, 2, 3)]


def test_what_ends_a_process_is_told() -> None:
    def killed(say: Say, turned: bool) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def failed(say: Say, turned: bool) -> None:
        raise ValueError("no number")

    with pytest.raises(BenchError, match=r"ended without an answer \(signal SIGKILL\): measure again"):
        in_processes(2, killed, lambda text: None)
    with pytest.raises(BenchError, match=r"ended without an answer \(ValueError: no number\): measure again"):
        in_processes(2, failed, lambda text: None)


def test_work_that_cannot_travel_is_refused() -> None:
    class Held:
        """Cannot be pickled."""

        def __reduce__(self) -> Any:
            raise TypeError("a camera is open")

    held = Held()

    def work(say: Say, turned: bool) -> str:
        return str(held)

    with pytest.raises(BenchError, match=r"cannot be sent to another process \(a camera is open\).*`processes` 1"):
        in_processes(2, work, lambda text: None)


def test_errors_of_ours_come_back_as_they_are() -> None:
    def work(say: Say, turned: bool) -> None:
        raise ExportError("x.onnx is no graph")

    with pytest.raises(ExportError, match=r"^x\.onnx is no graph$"):
        in_processes(2, work, lambda text: None)
