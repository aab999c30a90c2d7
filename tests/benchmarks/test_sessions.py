"""Pairs measured over several processes: every one answers, and what fails in one is told."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from secateur.benchmarks import sessions
from secateur.benchmarks.effort import Effort
from secateur.benchmarks.paired import PairedSamples
from secateur.benchmarks.runners import Subject
from secateur.benchmarks.sessions import Pair, measured
from secateur.core.errors import BenchError, ExportError
from secateur.core.input_spec import InputSpec
from secateur.export.targets import parse_typed_target

TWO = Effort(seconds=0.1, samples=40, warmup=0.05, threads=1, processes=2)


def pair(key: str, one: nn.Module, two: nn.Module, batch: int = 1, goal: str = "torch:cpu") -> Pair:
    inputs, typed = InputSpec.shaped((8,)), parse_typed_target(goal)
    sides = [(Subject(name, module, inputs=inputs), typed) for name, module in (("one", one), ("two", two))]
    return Pair(key, batch, (sides[0], sides[1]))


def test_each_process_measures_every_pair_and_says_why_not() -> None:
    here = os.getpid()

    class Scripted(nn.Linear):  # as in a script or a notebook: no module to import it from
        """Travels with its code."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert os.getpid() == here or "parent" in {thread.name for thread in threading.enumerate()}
            return super().forward(x)

    said: list[str] = []
    nothing = Subject("y"), parse_typed_target("onnxruntime:cpu")
    pairs = [pair("a", Scripted(8, 8), nn.Linear(8, 4)), Pair("b", 1, (nothing, nothing)), pair("c", *2 * [nn.ReLU()])]
    found = measured(pairs, TWO, said.append)
    assert list(found) == ["a", "b", "c"]
    assert str(found["b"]).startswith("y has no ONNX file")
    for key in "ac":
        one = found[key]
        assert isinstance(one, PairedSamples)
        assert len(one.processes) == 2
        assert sum(one.processes) == len(one.a_ms) == len(one.b_ms) >= 20
    assert any(line.startswith("process 2 of 2: c: ") for line in said)


def test_a_process_whose_parent_has_ended_follows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    stdin, parent = os.pipe()
    follower = threading.Thread(target=sessions._end_with_parent, args=(tmp_path / "job", stdin))
    (tmp_path / "job").mkdir()
    follower.start()
    follower.join(0.05)
    assert follower.is_alive() and not ended
    os.close(parent)
    follower.join(10)
    os.close(stdin)
    assert ended == [1] and not (tmp_path / "job").exists()


def test_what_ends_a_process_is_told() -> None:
    here = os.getpid()

    class Ended(nn.Module):
        """Ends its process as the system would, outside of this one."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if os.getpid() != here:
                os.kill(os.getpid(), signal.SIGKILL)
            return x

    with pytest.raises(BenchError, match=r"ended without an answer \(signal SIGKILL\): measure again"):
        measured([pair("a", Ended(), nn.ReLU())], TWO, lambda text: None)


def test_a_model_that_cannot_travel_is_refused() -> None:
    class Held(nn.Identity):
        """Cannot be pickled."""

        def __reduce__(self) -> Any:
            raise TypeError("a camera is open")

    with pytest.raises(BenchError, match=r"cannot be sent to another process \(a camera is open\).*`processes` 1"):
        measured([pair("a", Held(), nn.ReLU())], TWO, lambda text: None)


def test_errors_come_back_as_they_are(tmp_path: Path) -> None:
    broken = tmp_path / "x.onnx"
    broken.write_bytes(b"no graph")
    side = Subject("x", onnx=broken), parse_typed_target("onnxruntime:cpu")
    with pytest.raises(ExportError, match=r"x\.onnx"):
        measured([Pair("a", 1, (side, side))], TWO, lambda text: None)
