"""Two models timed in turns: the saving with its interval, and everything that was opened closed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from torch import nn

from secateur.benchmarks.bootstrap import Interval
from secateur.benchmarks.runners import Subject
from secateur.export.targets import parse_target
from secateur.pipeline.plan import timing
from secateur.pipeline.plan.timing import Timing
from secateur.pipeline.structure.groups import Groups

HERE = Timing(parse_target("torch:cpu"), 1, 1, 0.02)


class _Paired:
    """What measuring a pair gives: the first model takes 8 ms, and the other one half of it."""

    a_ms = (7.0, 8.0, 9.0)

    def interval(self) -> Interval:
        return Interval(2.0, 1.6, 4.0)


def test_half_of_8_ms_are_saved(vit: nn.Module, vit_groups: Groups, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = Subject("x", module=vit, inputs=vit_groups.inputs)
    monkeypatch.setattr(timing, "measure_pair", lambda *_, **__: _Paired())
    found = HERE.saved(subject, subject)
    assert (found.base_ms, found.saved_ms, found.low_ms, found.high_ms) == pytest.approx((8, 4, 3, 6))


@pytest.mark.parametrize("most", [1, 2])
def test_what_was_opened_is_closed_when_something_fails(
    most: int, vit: nn.Module, vit_groups: Groups, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second runner cannot be made, or both were and measuring fails."""
    opened: list[int] = []
    closed: list[int] = []
    make: Callable[..., Any] = timing.make_runner

    def watched(*args: object) -> Any:
        if len(opened) == most:
            raise RuntimeError("the machine is too busy")
        opened.append(1)
        return replace(make(*args), release=lambda: closed.append(1))

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the machine is too busy")

    monkeypatch.setattr(timing, "make_runner", watched)
    monkeypatch.setattr(timing, "measure_pair", broken)
    subject = Subject("x", module=vit, inputs=vit_groups.inputs)
    with pytest.raises(RuntimeError, match="too busy"):
        HERE.saved(subject, subject)
    assert len(closed) == len(opened) == most
