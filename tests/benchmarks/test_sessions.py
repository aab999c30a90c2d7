"""Pairs measured over several processes: every one answers, and says why a pair cannot be timed."""

from __future__ import annotations

import os
import threading

import torch
from torch import nn

from secateur.benchmarks.effort import Effort
from secateur.benchmarks.paired import PairedSamples
from secateur.benchmarks.runners import Subject
from secateur.benchmarks.sessions import Pair, measured
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
