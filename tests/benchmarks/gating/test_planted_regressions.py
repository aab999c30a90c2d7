"""A regression of each kind, planted in what a gate is given, fails it with the sentence that names it.

Real graphs, models and sessions are used wherever no timing decides; times are planted.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from secateur.benchmarks import bench
from secateur.benchmarks.bench import bench_pair
from secateur.benchmarks.effort import Effort
from secateur.benchmarks.gate import Verdict, judge
from secateur.benchmarks.limits import Limits
from secateur.benchmarks.results_file import BenchResult
from secateur.benchmarks.runners import Subject
from secateur.core.input_spec import InputSpec
from tests.benchmarks.samples import result, top1_of
from tests.benchmarks.tiny_graphs import tiny_graph

QUICK = Effort(seconds=0.05, samples=20, warmup=0.02, threads=1, processes=1)
ANY = Limits(min_speedup=1e-3)


def failed(verdict: Verdict) -> str:
    """The sentence of a verdict that fails."""
    assert (verdict.outcome, verdict.exit_code) == ("fail", 1)
    return verdict.sentence


def onnx_pair(folder: Path, **forms: str) -> list[Subject]:
    """Two sides whose forms are a graph in fp32."""
    graphs = [tiny_graph(folder / f"{name}.onnx", products) for name, products in (("dense", 4), ("pruned", 2))]
    return [Subject(graph.stem, onnx=graph, typed_onnx=dict.fromkeys(forms.values(), graph)) for graph in graphs]


def test_unaligned_widths(tmp_path: Path) -> None:
    sides = [
        Subject(f"{hidden}", nn.Sequential(nn.Linear(16, hidden), nn.Linear(hidden, 4)), inputs=InputSpec.shaped((16,)))
        for hidden in (64, 37)
    ]
    found = bench_pair(*sides, ["torch:cpu"], effort=QUICK)
    said = failed(judge(found, None, replace(ANY, align=8)))
    assert "2 of 2 widths that were cut are no multiples of 8 (0 37, 1 37): prune with plan.align: 8" in said


def test_an_fp32_graph_where_fp16_was_asked(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    found = bench_pair(*onnx_pair(tmp_path, typed="fp16"), ["onnxruntime:cpu@fp16"], effort=QUICK)
    said = failed(judge(found, None, ANY))
    assert "onnxruntime:cpu@fp16: fp16 was asked for, but the dense side runs its products otherwise" in said
    assert "in fp32)" in said


def test_a_provider_that_falls_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    real, names = onnxruntime.InferenceSession, ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda path, options, providers: real(path, options, providers=names[1:])
    )
    monkeypatch.setattr(bench, "why_not", lambda *given: "")
    found = bench_pair(*onnx_pair(tmp_path), ["onnxruntime:cpu", "onnxruntime:cuda"], effort=QUICK)
    assert list(found.speedup) == ["onnxruntime:cpu"]
    said = failed(judge(found, None, ANY))
    assert "onnxruntime:cuda: CUDAExecutionProvider was asked for, but ONNX Runtime fell back to CPUExecution" in said


def planted(truth: float, baseline: float = 1.5) -> tuple[BenchResult, BenchResult]:
    return result(truth, 200, seed=1), result(baseline, 200, seed=2)


def test_a_model_that_is_10_percent_slower() -> None:
    said = failed(judge(*planted(1.35), Limits()))
    assert "onnxruntime:cpu batch 1: 0.9" in said
    assert "of the baseline's speedup, at least 0.95 is wanted" in said
    assert judge(*planted(1.5), Limits()).outcome == "pass"


def test_an_int8_engine_that_answers_wrong(tmp_path: Path) -> None:
    fine = result(1.6, targets={"onnxruntime:cpu@int8": 1}, top1=(82.0, 82.0))
    wrong = replace(fine, accuracy={"onnxruntime:cpu@int8": top1_of(82.0, 61.0)})
    said = failed(judge(wrong, None, replace(ANY, max_drop=1.0)))
    assert "onnxruntime:cpu@int8: top-1 accuracy is worse by 21.00 [" in said


def test_nothing_planted_passes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 64), nn.Linear(64, 4))
    small = nn.Sequential(nn.Linear(16, 32), nn.Linear(32, 4))
    sides = [Subject("a", one, inputs=InputSpec.shaped((16,))) for one in (model, small)]
    assert judge(bench_pair(*sides, ["torch:cpu"], effort=QUICK), None, replace(ANY, align=8)).outcome == "pass"
