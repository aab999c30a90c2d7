"""Progress: a moving line in a terminal, a line a stage and a minute elsewhere, and the time that is left."""

from __future__ import annotations

import io
import time
from collections.abc import Callable

import pytest

from secateur.pipeline.cli import progress
from secateur.pipeline.cli.progress import Progress, Remaining, lasting
from secateur.pipeline.report.console import InertConsole


def shown_by(
    work: Callable[[Progress], None], monkeypatch: pytest.MonkeyPatch, terminal: bool, every_s: float = 60.0
) -> str:
    """What progress writes to a stderr that is a terminal, or is none."""
    said = io.StringIO()
    monkeypatch.setattr(
        progress,
        "InertConsole",
        lambda stderr: InertConsole(file=said, force_terminal=terminal, width=80, color_system="standard"),
    )
    with Progress(every_s) as told:
        work(told)
    return said.getvalue()


def stages(told: Progress) -> None:
    told("plan", "weighing")
    told("plan", "done in 0.1 s")
    told("prune", "up to date")
    told("bench", "done: [/red] \x1b[2J\rof a device")
    told("bench", "[/red] \x1b[2J")


def test_a_terminal_sees_a_line_for_each_finished_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    said = shown_by(stages, monkeypatch, terminal=True)
    assert "✓ plan     done in 0.1 s" in said
    assert "✓ prune    up to date" in said
    assert "✓ bench    done: [/red] \\x1b[2J\\rof a device" in said and "\x1b[2J" not in said


def test_colours_are_off_where_the_user_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[32m✓" in shown_by(stages, monkeypatch, terminal=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[32m" not in shown_by(stages, monkeypatch, terminal=True)


def test_anything_else_sees_a_line_for_each_stage_that_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    said = shown_by(stages, monkeypatch, terminal=False)
    assert said == "plan: done in 0.1 s\nbench: done: [/red] \\x1b[2J\\rof a device\n"


def test_and_what_is_at_work_from_time_to_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def works(told: Progress) -> None:
        told("score", "obs on 20 images")
        time.sleep(0.2)
        told("score", "done in 0.2 s")
        time.sleep(0.1)  # between stages nothing is at work

    lines = shown_by(works, monkeypatch, terminal=False, every_s=0.05).splitlines()
    assert lines[-1] == "score: done in 0.2 s"
    assert 1 <= len(lines[:-1]) <= 4
    assert set(lines[:-1]) == {"score: obs on 20 images"}


def test_the_time_that_is_left_follows_from_what_is_counted() -> None:
    now = [100.0]
    left = Remaining(lambda: now[0])
    assert left.seconds("distill", "step 10 of 200: loss 0.5") is None
    now[0] = 130.0
    assert left.seconds("distill", "step 40 of 200: loss 0.4") == pytest.approx(160.0)  # a second a step
    assert left.seconds("distill", "loss 0.4") is None
    assert left.seconds("export", "step 40 of 200") is None  # another stage counts anew
    now[0] = 131.0
    assert left.seconds("distill", "step 10 of 200") is None  # begun again
    now[0] = 141.0
    assert left.seconds("distill", "step 20 of 200") == pytest.approx(180.0)
    assert left.seconds("build", "pushing to orin: 1.5 of 6.0 MB") is None
    now[0] = 142.0
    assert left.seconds("build", "pushing to orin: 3.0 of 6.0 MB") == pytest.approx(2.0)


def test_the_time_that_is_left_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def works(told: Progress) -> None:
        told("distill", "step 1 of 3")
        time.sleep(0.02)
        told("distill", "step 2 of 3")
        time.sleep(0.1)

    assert "distill: step 2 of 3 (about 0 s left)\n" in shown_by(works, monkeypatch, terminal=False, every_s=0.05)


@pytest.mark.parametrize(("seconds", "words"), [(40, "about 40 s"), (200, "about 3 min"), (9000, "about 2.5 h")])
def test_times_are_said_in_the_unit_that_suits_them(seconds: float, words: str) -> None:
    assert lasting(seconds) == words
