"""Layers timed over several processes: every other one opens the sides turned, and each keeps its own place."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from secateur.benchmarks.effort import Effort
from secateur.benchmarks.layers import timing
from secateur.benchmarks.layers.timing import measure_layers
from secateur.benchmarks.runners import Subject
from secateur.core.input_spec import InputSpec
from secateur.core.say import Say
from secateur.export.targets import TypedTarget, parse_typed_target


def test_every_other_process_opens_the_second_side_first(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[str, Any]] = []
    original = timing.open_profiled

    def noted(subject: Subject, goal: TypedTarget, *words: Any) -> Any:
        opened.append((subject.name, words[-2].name))
        return original(subject, goal, *words)

    def here(count: int, work: Any, say: Say) -> list[Any]:
        return [work(say, bool(index % 2)) for index in range(count)]

    monkeypatch.setattr(timing, "in_processes", here)
    monkeypatch.setattr(timing, "open_profiled", noted)
    sides = [
        Subject(str(width), nn.Sequential(nn.Linear(6, width), nn.Linear(width, 3)), inputs=InputSpec.shaped((6,)))
        for width in (64, 8)
    ]
    effort = Effort(0.02, threads=1, processes=3)
    found = measure_layers(sides, parse_typed_target("torch:cpu"), 2, effort, lambda message: None)
    assert opened == [("64", "0"), ("8", "1"), ("8", "1"), ("64", "0"), ("64", "0"), ("8", "1")]
    assert len(found.whole.a_ms) == len(found.whole.b_ms) >= 3 * effort.least_blocks
    dense, pruned = found.sides
    assert len(dense.ms) == len(pruned.ms) == sum(dense.processes) and dense.processes == pruned.processes
    assert len(dense.processes) == 3 and dense.ms.shape[1] == len(dense.operations)
    macs = [sum(operation.macs for operation in side.operations) for side in found.sides]
    assert macs == [2 * (6 * width + width * 3) for width in (64, 8)]
