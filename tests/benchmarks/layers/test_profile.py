"""Both sides of a run, layer by layer, on real runtimes: all work is there, and what is said fits what was measured."""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from torch import nn

from secateur.benchmarks.layers import profile, timing
from secateur.benchmarks.layers.match import match_layers
from secateur.benchmarks.layers.peak import roofline_of
from secateur.benchmarks.layers.profile import profile_layers
from secateur.benchmarks.processes import Work
from secateur.benchmarks.runners import Subject
from secateur.core.errors import BenchError
from secateur.core.input_spec import InputSpec
from secateur.core.say import Say
from tests.benchmarks.layers.graphs import graph, macs
from tests.benchmarks.layers.planted import operation, times
from tests.benchmarks.layers.test_peak import SMALL
from tests.export.conftest import needs_ort


def subject(folder: Path, width: int) -> Subject:
    """A network of so many channels as a graph, and two linear layers as a module."""
    module = nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 3))
    return Subject(f"{width} channels", module, graph(folder / f"{width}.onnx", width), inputs=InputSpec.shaped((6,)))


def in_this_process(count: int, work: Work[Any], say: Say) -> list[Any]:
    """What `in_processes` gives, which starts none: work and answers travel as they do there."""
    return [
        pickle.loads(pickle.dumps(cloudpickle.loads(cloudpickle.dumps(work))(say, bool(index % 2))))
        for index in range(count)
    ]


@needs_ort
@pytest.mark.parametrize(("target", "processes"), [("onnxruntime:cpu", 3), ("torch:cpu", 2), ("torch:cpu", 1)])
def test_both_sides_layer_by_layer(
    target: str, processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile, "roofline_of", partial(roofline_of, **SMALL))
    monkeypatch.setattr(timing, "in_processes", in_this_process)
    said: list[str] = []
    sides = subject(tmp_path, 16), subject(tmp_path, 12)
    found = profile_layers(*sides, target, 2, 0.02, 1, say=said.append, processes=processes)
    work = {row.name: (row.macs_dense, row.macs_pruned) for row in found.rows if row.macs_dense}
    if target == "torch:cpu":
        assert work == {"0": (2 * 6 * 16, 2 * 6 * 12), "2": (2 * 16 * 3, 2 * 12 * 3)}
    else:
        assert work == {name: (2 * one, 2 * macs(12)[name]) for name, one in macs(16).items()}
    assert (found.target, found.batch, found.environment.threads) == (target, 2, 1)
    assert sum(found.share_dense(row) for row in found.rows) == pytest.approx(1)
    samples = {len(one) for row in found.rows for one in (row.samples_dense_ms, row.samples_pruned_ms)}
    assert len(samples) == 1 and min(samples) >= 20
    assert (len(found.processes), sum(found.processes)) == ((processes, samples.pop()) if processes > 1 else (0, 0))
    assert any(f"are over {processes} processes" in note for note in found.notes) == (processes > 1)
    for row in found.rows:
        lost = 0 < row.macs_pruned < row.macs_dense
        assert not row.reason or (lost and row.low is not None and row.low < row.macs_dense / row.macs_pruned)
        assert not row.macs_dense or row.macs_dense / (row.ms_dense / 1e3) <= found.roofline.macs_per_s * 1.001
    assert any("add up to" in note and "without it the whole models take" in note for note in found.notes)
    assert said[:2] == [f"timing the whole models on {target}", "timing their layers"]


def test_a_provider_that_was_not_asked_for_is_noted() -> None:
    layers = match_layers(times(operation("MatMul", 1.0)), times(operation("Gemm", 1.0), operation("Add", 1.0)))
    assert profile._provider_notes(layers, "CPUExecutionProvider") == []
    assert profile._provider_notes(layers, "CUDAExecutionProvider") == [
        "1 operations of the dense model run on CPUExecutionProvider, not on CUDAExecutionProvider: MatMul",
        "2 operations of the pruned model run on CPUExecutionProvider, not on CUDAExecutionProvider: Gemm, Add",
    ]


def test_what_cannot_be_measured_is_one_sentence(tmp_path: Path) -> None:
    empty = Subject("empty")
    with pytest.raises(BenchError, match="layers of onnxruntime:cpu cannot be timed here: empty has no ONNX file"):
        profile_layers(empty, empty, "onnxruntime:cpu")
    with pytest.raises(BenchError, match="got a batch of 0 and"):
        profile_layers(empty, empty, "torch:cpu", batch=0)
