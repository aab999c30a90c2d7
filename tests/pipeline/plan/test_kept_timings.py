"""Savings on disk as they come: what is known is neither measured nor prepared again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from secateur.benchmarks.runners import Subject
from secateur.core.errors import RunError
from secateur.export.targets import parse_target
from secateur.pipeline.plan.kept_timings import KeptTimings
from secateur.pipeline.plan.timing import Saved, Timing

HERE = Timing(parse_target("torch:cpu"), 1, 1, 0.02)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The subjects that were made, in order; each pair saves as many ms as there were pairs."""
    names: list[str] = []

    def saved(_: Timing, one: Subject, other: Subject) -> Saved:
        names.append(f"{one.name} {other.name}")
        return Saved(9.0, float(len(names)), 0.5, 1.5)

    monkeypatch.setattr(Timing, "saved", saved)
    return names


def subject(name: str) -> Callable[[], Subject]:
    return lambda: Subject(name)


def forbidden() -> Subject:
    pytest.fail("made again")


def test_it_goes_on_after_what_is_there(tmp_path: Path, made: list[str]) -> None:
    path, said = tmp_path / "part.json", list[str]()
    first = KeptTimings(path, ["a model", 3.0], 3, said.append)
    assert first.saved("mlp at 50%", HERE, subject("dense"), subject("half")).saved_ms == 1
    assert first.saved("mlp at 50%", HERE, forbidden, forbidden).saved_ms == 1
    again = KeptTimings(path, ["a model", 3.0], 3, said.append)
    assert again.saved("mlp at 50%", HERE, forbidden, forbidden).saved_ms == 1
    assert again.saved("mlp at 25%", HERE, subject("dense"), subject("quarter")).saved_ms == 2
    assert made == ["dense half", "dense quarter"]
    assert said[-3:] == ["going on after 1 measurements of before", "1 of 3: mlp at 50%", "2 of 3: mlp at 25%"]
    again.finish()
    assert not path.exists()


def test_a_kill_leaves_what_was_measured(tmp_path: Path, made: list[str]) -> None:
    def kill() -> Subject:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("it lives")

    child = os.fork()
    if not child:
        try:
            timings = KeptTimings(tmp_path / "part.json", "a model")
            timings.saved("first", HERE, subject("a"), subject("b"))
            timings.saved("second", HERE, subject("a"), kill)
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    again = KeptTimings(tmp_path / "part.json", "a model")
    assert again.saved("first", HERE, forbidden, forbidden).saved_ms == 1
    again.saved("second", HERE, subject("a"), subject("c"))
    assert made == ["a c"]
    assert [path.name for path in tmp_path.iterdir()] == ["part.json"]


def test_what_is_of_something_else_does_not_count(tmp_path: Path, made: list[str]) -> None:
    path, said = tmp_path / "part.json", list[str]()
    KeptTimings(path, "a model").saved("x", HERE, subject("a"), subject("b"))
    other = KeptTimings(path, "another model", say=said.append)
    assert other.saved("x", HERE, subject("a"), subject("b")).saved_ms == 2
    assert "is left out" in said[0]
    path.write_text("{}")
    with pytest.raises(RunError, match="schema"):
        KeptTimings(path, "a model")
