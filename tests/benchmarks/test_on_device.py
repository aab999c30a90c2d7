"""Latency on a device, behind a stand-in for ssh."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from secateur.benchmarks.bench import bench_one, bench_pair
from secateur.benchmarks.effort import Effort
from secateur.benchmarks.on_device import Found, check_samples, measure_there
from secateur.benchmarks.results_file import read_bench
from secateur.benchmarks.runners import Subject
from secateur.core.errors import BenchError, DeviceError
from secateur.export.devices.device import Remote
from secateur.export.runner.sensors.conditions import Conditions
from secateur.export.targets import parse_typed_target
from tests.benchmarks.tiny_graphs import tiny_graph
from tests.export.devices.stand_in_ssh import StandIn, installed

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
QUICK = Effort(seconds=0.05, threads=1, processes=2)
UNSEEN = Conditions({}, (), (), (), (), {})


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    return installed(tmp_path / "stand-in", monkeypatch)


@pytest.fixture
def remote(stand_in: StandIn) -> Remote:
    return Remote(replace(stand_in.device, python=sys.executable))


def test_a_pair_is_measured_there_and_written_here(stand_in: StandIn, remote: Remote, tmp_path: Path) -> None:
    dense = Subject("dense", onnx=tiny_graph(tmp_path / "dense.onnx", 200))
    pruned = Subject("pruned", onnx=tiny_graph(tmp_path / "pruned.onnx"))
    goals = ["onnxruntime:cpu", "torch:cpu", "tensorrt"]
    found = bench_pair(dense, pruned, goals, (1,), QUICK, remote=remote)
    assert (found.device, list(found.speedup)) == ("orin", ["onnxruntime:cpu"])
    assert found.speedup["onnxruntime:cpu"].ratio > 1
    assert "PyTorch is not used on devices" in found.skipped["torch:cpu"] and "no engine" in found.skipped["tensorrt"]
    assert found.environment.threads == 1 and found.environment.versions["onnxruntime"]
    assert found.conditions["onnxruntime:cpu"].absent
    assert all(len(one.processes) == 2 for side in (found.dense, found.pruned) for one in side.latency_ms.values())
    found.save(tmp_path / "bench.json")
    assert read_bench(tmp_path / "bench.json") == found
    assert not list((stand_in.files / "jobs").iterdir())
    both = replace(QUICK, modes=("copies", "hot", "throughput:2", "graph"))
    alone = bench_one(pruned, goals[:1], (1, 2), both, remote=replace(remote, keep=True))
    assert list(alone.skipped) == ["onnxruntime:cpu@copies", "onnxruntime:cpu@graph"]
    assert "nothing is copied" in alone.skipped["onnxruntime:cpu@copies"]
    assert "no CUDA graph is captured" in alone.skipped["onnxruntime:cpu@graph"]
    keys = [f"onnxruntime:cpu{mode}@b{batch}" for mode in ("", "@throughput:2") for batch in (1, 2)]
    assert alone.device == "orin" and list(alone.side.latency_ms) == keys
    assert [one.mode for one in alone.side.latency_ms.values()] == ["hot", "hot", "throughput:2", "throughput:2"]
    assert alone.side.latency_ms[keys[0]].stopped in ("seconds", "samples")
    with pytest.raises(BenchError, match=r"nothing was measured on orin \(onnxruntime:cpu@graph: .* CUDA graph"):
        bench_one(pruned, goals[:1], effort=replace(QUICK, modes=("graph",)), remote=remote)
    assert len(list((stand_in.files / "kept").iterdir())) == 1


def test_nothing_to_measure_is_an_error_with_all_reasons(remote: Remote, tmp_path: Path) -> None:
    subject = Subject("x", onnx=tmp_path / "x.onnx")
    with pytest.raises(BenchError, match=r"nothing was measured on orin \(torch:cpu: PyTorch"):
        measure_there(remote, [subject], [parse_typed_target("torch:cpu")], (1,), QUICK, print)


def test_a_device_that_cannot_be_reached(stand_in: StandIn, remote: Remote, tmp_path: Path) -> None:
    stand_in.refuse("Host key verification failed.")
    with pytest.raises(DeviceError, match="is not known here"):
        bench_one(Subject("x", onnx=tiny_graph(tmp_path / "x.onnx")), ["onnxruntime:cpu"], remote=remote)


GOOD = (100, 110) * 10


@pytest.mark.parametrize(
    "found",
    [
        Found("another", 1, (GOOD, GOOD), UNSEEN),
        Found("x", 1, (GOOD,), UNSEEN),
        Found("x", 1, (GOOD, GOOD[2:]), UNSEEN),
        Found("x", 1, (GOOD[1:], GOOD[1:]), UNSEEN),
        Found("x", 1, ((), ()), UNSEEN),
        Found("x", 1, ((0, *GOOD[1:]), GOOD), UNSEEN),
        Found("x", 1, (GOOD, GOOD), UNSEEN, (10, 8)),
        Found("x", 1, (GOOD, GOOD), UNSEEN, (11, 9)),
    ],
)
def test_times_that_nothing_follows_from_are_refused(found: Found) -> None:
    check_samples(
        [replace(found, key="x", samples_ns=(GOOD, GOOD), processes=(10, 10))], {"x"}, 2, "the answer of orin"
    )
    with pytest.raises(BenchError, match="the answer of orin has times of"):
        check_samples([found], {"x"}, 2, "the answer of orin")
