"""Two models timed in turns: the saving with its interval, and everything that was opened closed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from secateur.benchmarks import runners
from secateur.benchmarks.bootstrap import Interval
from secateur.benchmarks.runners import Subject
from secateur.export.devices.device import Device, Remote
from secateur.export.targets import Target, parse_target
from secateur.pipeline.plan import timing
from secateur.pipeline.plan.timing import Timing
from secateur.pipeline.structure.groups import Groups
from tests.benchmarks.tiny_graphs import tiny_graph
from tests.export.devices.stand_in_ssh import installed

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


def test_both_are_timed_on_a_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    stand_in = installed(tmp_path / "stand-in", monkeypatch)
    monkeypatch.setattr(runners, "make_runner", lambda *_: pytest.fail("timed here"))
    remote = Remote(replace(stand_in.device, python=sys.executable))
    there = Timing(parse_target("onnxruntime:cpu"), 2, 1, 0.02, remote)
    found = there.saved(*(there.subject(tiny_graph(tmp_path / f"{size}.onnx", size)) for size in (200, 1)))
    assert 0 < found.low_ms <= found.saved_ms <= found.high_ms < found.base_ms
    assert found.environment and found.environment.threads == 1 and found.environment.versions["onnxruntime"]


def test_a_device_builds_its_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remote, built = Remote(Device("orin", "host")), list[object]()

    def build_engine(graph: Path, target: Target, folder: Path, **settings: object) -> SimpleNamespace:
        built.extend([graph, str(target), settings["remote"]])
        return SimpleNamespace(path=folder / "model.engine")

    monkeypatch.setattr(timing, "build_engine", build_engine)
    subject = Timing(parse_target("tensorrt"), 1, None, 1.0, remote).subject(tmp_path / "a.onnx")
    assert built == [tmp_path / "a.onnx", "tensorrt", remote]
    assert subject.engines == {"tensorrt": tmp_path / "a" / "model.engine"}


@pytest.mark.parametrize("most", [1, 2])
def test_what_was_opened_is_closed_when_something_fails(
    most: int, vit: nn.Module, vit_groups: Groups, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second runner cannot be made, or both were and measuring fails."""
    opened: list[int] = []
    closed: list[int] = []
    make: Callable[..., Any] = runners.make_runner

    def watched(*args: object) -> Any:
        if len(opened) == most:
            raise RuntimeError("the machine is too busy")
        opened.append(1)
        return replace(make(*args), release=lambda: closed.append(1))

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the machine is too busy")

    monkeypatch.setattr(runners, "make_runner", watched)
    monkeypatch.setattr(timing, "measure_pair", broken)
    subject = Subject("x", module=vit, inputs=vit_groups.inputs)
    with pytest.raises(RuntimeError, match="too busy"):
        HERE.saved(subject, subject)
    assert len(closed) == len(opened) == most
