"""Two models measured in turn: everything in one result, and nothing left out without a reason."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import nn

from secateur.benchmarks import runners
from secateur.benchmarks.bench import bench_one, bench_pair, busy_notes, onnx_bytes, why_not
from secateur.benchmarks.effort import Effort
from secateur.benchmarks.gate import judge
from secateur.benchmarks.limits import Limits
from secateur.benchmarks.modes import cold
from secateur.benchmarks.results_file import parse_bench, read_bench
from secateur.benchmarks.runners import Subject
from secateur.core.errors import BenchError, EngineError, ExportError, UnsupportedError
from secateur.core.input_spec import InputSpec
from secateur.export.targets import parse_target
from secateur.export.to_onnx import export_onnx

SHAPE = (64,)
QUICK = Effort(seconds=0.2, samples=40, warmup=0.1, threads=1)


def mlp(hidden: int) -> nn.Module:
    return nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Subject, Subject]:
    folder = tmp_path_factory.mktemp("pair")
    subjects = []
    for name, hidden in (("dense", 20_000), ("pruned", 2_000)):
        model = mlp(hidden)
        path = folder / f"{name}.onnx"
        export_onnx(model, path, input_shape=SHAPE)
        subjects.append(Subject(name, model, path, inputs=InputSpec.shaped(SHAPE), top1=90.0))
    return subjects[0], subjects[1]


def test_a_pair_on_two_runtimes_and_two_batches(pair: tuple[Subject, Subject], tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    said: list[str] = []
    threads = torch.get_num_threads()
    targets = ["onnxruntime:cpu", "torch:cpu", "tensorrt"]
    found = bench_pair(*pair, targets, [1, 4], QUICK, evaluation_images=360, say=said.append)
    keys = ["onnxruntime:cpu@b1", "onnxruntime:cpu@b4", "torch:cpu@b1", "torch:cpu@b4"]
    assert list(found.speedup) == list(found.dense.latency_ms) == list(found.pruned.latency_ms) == keys
    assert found.dense.latency_ms["torch:cpu@b4"].batch == 4
    assert len(found.dense.latency_ms["torch:cpu@b4"].samples) == len(found.pruned.latency_ms["torch:cpu@b4"].samples)
    assert found.dense.macs == 64 * 20_000 + 20_000 * 10
    assert found.pruned.params == 64 * 2_000 + 2_000 + 2_000 * 10 + 10
    assert found.pruned.size_bytes == onnx_bytes(pair[1].onnx or Path()) > 4 * 148_000
    assert (found.pruned.top1, found.evaluation_images, found.environment.threads) == (90.0, 360, 1)
    assert list(found.skipped) == ["tensorrt"]
    assert "has no engine for tensorrt" in found.skipped["tensorrt"]
    assert torch.get_num_threads() == threads
    assert any("onnxruntime:cpu@b4" in message for message in said)
    found.save(tmp_path / "bench.json")
    assert read_bench(tmp_path) == found
    # ten times the work is slower on any machine, however busy
    assert judge(found, None, Limits(min_speedup=1.2, targets=("torch:cpu@b4",))).outcome != "fail"


def test_one_model_alone(pair: tuple[Subject, Subject]) -> None:
    found = bench_one(pair[1], ["torch:cpu"], [2], replace(QUICK, seconds=0.05, modes=("hot", "copies")))
    assert list(found.side.latency_ms) == ["torch:cpu"]
    assert found.side.latency_ms["torch:cpu"].batch == 2
    assert list(found.skipped) == ["torch:cpu@copies"] and "nothing is copied" in found.skipped["torch:cpu@copies"]


def test_each_mode_has_a_key_and_says_what_stopped_it(
    pair: tuple[Subject, Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cold, "flushed_bytes", lambda: 1000)
    effort = replace(QUICK, modes=("cold", "concurrent:2")).exactly(20)
    found = bench_pair(pair[1], pair[1], ["torch:cpu"], [1, 2], effort)
    modes = ["cold", "cold", "concurrent:2", "concurrent:2"]
    keys = ["torch:cpu@cold@b1", "torch:cpu@cold@b2", "torch:cpu@concurrent:2@b1", "torch:cpu@concurrent:2@b2"]
    assert list(found.speedup) == list(found.dense.latency_ms) == keys
    for side in (found.dense, found.pruned):
        assert [one.mode for one in side.latency_ms.values()] == modes
        assert {one.stopped for one in side.latency_ms.values()} <= {"samples", "seconds"}
    assert parse_bench(asdict(found), "memory") == found


def test_the_same_model_twice_has_a_speedup_of_about_one(pair: tuple[Subject, Subject]) -> None:
    found = bench_pair(pair[1], pair[1], ["torch:cpu"], effort=replace(QUICK, samples=400, seconds=1.0, processes=1))
    assert 0.5 < found.speedup["torch:cpu"].ratio < 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="PyTorch sees a GPU")
def test_a_target_without_its_device_is_skipped_with_the_reason(pair: tuple[Subject, Subject]) -> None:
    found = bench_pair(*pair, ["torch:cuda", "torch:cpu"], effort=QUICK)
    assert list(found.speedup) == ["torch:cpu"]
    assert "driver" in found.skipped["torch:cuda"] or "CUDA" in found.skipped["torch:cuda"]
    engine = Subject("a", engines={"tensorrt_rtx:sm_86": Path("folder")})
    assert why_not(parse_target("tensorrt_rtx:sm_86"), engine)


def test_a_measurement_of_nothing_is_an_error_with_all_reasons(pair: tuple[Subject, Subject]) -> None:
    words = r"nothing was measured \(tensorrt: dense has no engine for tensorrt: .*; tensorrt@fp16: dense has no engine"
    with pytest.raises(BenchError, match=words):
        bench_pair(*pair, ["tensorrt", "tensorrt@fp16"], effort=QUICK)
    with pytest.raises(BenchError, match=words):
        bench_one(pair[0], ["tensorrt", "tensorrt@fp16"], effort=QUICK)


def test_a_batch_that_the_graph_does_not_take_is_skipped_by_its_key(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2, 3]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", value[:1], value[1:])
    opsets = [onnx.helper.make_opsetid("", 20)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10), str(tmp_path / "a.onnx"))
    found = bench_one(Subject("a", onnx=tmp_path / "a.onnx"), ["onnxruntime:cpu"], [2, 32], QUICK)
    assert list(found.side.latency_ms) == ["onnxruntime:cpu@b2"]
    assert "a batch of 32 was asked for" in found.skipped["onnxruntime:cpu@b32"]


def test_an_engine_of_other_batches_is_skipped_and_a_broken_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """As TensorRT refuses a batch outside of the profile, and a file that it cannot read."""
    real = runners.make_runner
    errors: dict[int, EngineError] = {64: UnsupportedError("the engine takes 'input' from [1, 3] to [32, 3]")}

    def make_runner(subject: Subject, goal: object, batch: int, *rest: Any) -> object:
        if batch in errors:
            raise errors[batch]
        return real(subject, goal, batch, *rest)  # type: ignore[arg-type]  # as it was given

    monkeypatch.setattr(runners, "make_runner", make_runner)
    subject = Subject("a", mlp(8), inputs=InputSpec.shaped(SHAPE))
    found = bench_one(subject, ["torch:cpu"], [1, 64], QUICK)
    assert list(found.side.latency_ms) == ["torch:cpu@b1"]
    assert found.skipped == {"torch:cpu@b64": "the engine takes 'input' from [1, 3] to [32, 3]"}
    errors[64] = EngineError("the engine is broken")
    with pytest.raises(EngineError, match="broken"):
        bench_one(subject, ["torch:cpu"], [1, 64], QUICK)


def test_an_unknown_target_is_an_error_and_not_skipped(pair: tuple[Subject, Subject]) -> None:
    with pytest.raises(EngineError, match="is not known: onnxruntime has onnxruntime:cpu"):
        bench_pair(*pair, ["onnxruntime:cpux"], effort=QUICK)


def test_a_broken_onnx_file_is_an_error_and_not_skipped(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    (tmp_path / "a.onnx").write_bytes(b"no graph")
    subject = Subject("a", onnx=tmp_path / "a.onnx", size_bytes=8)
    with pytest.raises(ExportError, match=r"a\.onnx is not a readable ONNX model"):
        bench_one(subject, ["onnxruntime:cpu"], effort=QUICK)


@pytest.mark.parametrize("batches", [(), (0,), (1, 1)])
def test_batch_sizes_out_of_range(pair: tuple[Subject, Subject], batches: tuple[int, ...]) -> None:
    with pytest.raises(BenchError, match="batch sizes"):
        bench_pair(*pair, ["torch:cpu"], batches, QUICK)


def test_an_effort_out_of_range() -> None:
    with pytest.raises(BenchError, match="more than 0"):
        Effort(seconds=0)
    with pytest.raises(BenchError, match="1 to 4096"):
        Effort(threads=0)
    with pytest.raises(BenchError, match="20 or more"):
        Effort().exactly(19)
    with pytest.raises(BenchError, match="each once"):
        Effort(modes=("hot", "hot"))
    with pytest.raises(BenchError, match="'warm' is not known"):
        Effort(modes=("warm",))
    with pytest.raises(BenchError, match="at least one"):
        bench_one(Subject("a"), [])


def test_a_busy_machine_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (1000.0, 0.0, 0.0))
    assert "the load was 1000.0" in busy_notes()[0]
    monkeypatch.setattr(os, "getloadavg", lambda: (0.1, 0.0, 0.0))
    assert busy_notes() == []


def test_macs_that_are_a_lower_bound_are_noted() -> None:
    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.svdvals(x)

    found = bench_one(Subject("odd", Odd(), inputs=InputSpec.shaped(SHAPE)), ["torch:cpu"], effort=QUICK)
    assert found.side.unsupported == {"aten::linalg_svdvals": 1}
    assert any("lower bound" in note and "aten::linalg_svdvals" in note for note in found.notes)
