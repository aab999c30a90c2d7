"""Whether 8 bits pay: what is slower than the wider graph is not kept, and said to be."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from secateur.benchmarks.bench import bench_pair
from secateur.benchmarks.effort import Effort
from secateur.benchmarks.narrow import with_narrowed
from secateur.benchmarks.runners import Subject
from secateur.export.targets import parse_typed_target
from secateur.export.to_onnx import export_onnx

pytest.importorskip("onnxruntime")
QUICK = Effort(seconds=0.1, samples=40, warmup=0.05, threads=1)
GOALS = [parse_typed_target(f"onnxruntime:cpu{typed}") for typed in ("", "@fp16", "@int8")]


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Graphs of a model by its width: what takes ten times the work is slower on any machine."""
    folder = tmp_path_factory.mktemp("graphs")
    found = {}
    for width in (100, 1_000, 10_000):
        model = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 64))
        found[width] = export_onnx(model, folder / f"{width}.onnx", input_shape=(64,)).path
    return found


@pytest.mark.parametrize(("narrow", "keeps"), [(100, "int8"), (10_000, "fp16")])
def test_the_narrow_graph_is_kept_only_where_it_is_faster(graphs: dict[int, Path], narrow: int, keeps: str) -> None:
    typed = {"fp16": graphs[1_000], "int8": graphs[narrow]}
    subject = Subject("pruned", onnx=graphs[10_000], typed_onnx=typed)
    threads, said = torch.get_num_threads(), list[str]()
    measured = bench_pair(subject, subject, GOALS, [1], QUICK)
    found = with_narrowed(measured, subject, GOALS, [1], QUICK, said.append)
    (one,) = found.narrowed
    assert (one.target, one.precision, one.wider, one.keeps) == ("onnxruntime:cpu", "int8", "fp16", keeps)
    assert one.speedup.ratio == pytest.approx(one.wide_ms.p50 / one.narrow_ms.p50)
    assert found.notes[-1] == one.said
    assert said[0] == "onnxruntime:cpu@int8, batch 1: in turns with fp16"
    assert torch.get_num_threads() == threads
    if keeps == "fp16":
        assert "int8 is not faster than fp16" in one.said and one.said.endswith("keep fp16 there")


def test_without_a_wider_graph_nothing_is_compared(graphs: dict[int, Path]) -> None:
    subject = Subject("pruned", typed_onnx={"int8": graphs[100]})
    measured = bench_pair(subject, subject, GOALS[2:], [1], QUICK)
    assert with_narrowed(measured, subject, GOALS[2:], [1], QUICK, print) == measured
