"""A bench.json that contradicts itself is refused: no regression passes by what stands in it twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from secateur.benchmarks.bootstrap import Interval
from secateur.benchmarks.gating.matched_pairs import Pairs
from secateur.benchmarks.gating.ran import Ran
from secateur.benchmarks.keys import TOP1
from secateur.benchmarks.results_file import BenchResult, Compared, Latency, read_bench
from secateur.core.errors import BenchError
from tests.benchmarks.samples import over_processes, result, top1_of

CPU = "onnxruntime:cpu"


def with_latency(found: BenchResult, which: str, **changes: Any) -> BenchResult:
    side = getattr(found, which)
    return replace(found, **{which: replace(side, latency_ms={CPU: replace(side.latency_ms[CPU], **changes)})})


def joined(one: BenchResult, other: BenchResult, speedup: bool = True) -> BenchResult:
    sides = {
        name: replace(
            getattr(one, name), latency_ms={**getattr(one, name).latency_ms, **getattr(other, name).latency_ms}
        )
        for name in ("dense", "pruned")
    }
    return replace(one, **sides, speedup={**one.speedup, **other.speedup} if speedup else one.speedup)


def copies() -> BenchResult:
    """Of two processes, each with the same ten times."""
    found = over_processes([1.5, 1.6])
    for which in ("dense", "pruned"):
        times = [2.0 + 0.01 * run for run in range(10)] * 2
        found = replace(
            found,
            **{which: replace(getattr(found, which), latency_ms={CPU: Latency.of(times, 1, processes=(10, 10))})},
        )
    return found


SLOW, FAST = result(0.7), result(1.5, targets={f"{CPU}@b1": 1})


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (joined(SLOW, FAST), "onnxruntime:cpu and onnxruntime:cpu@b1 are one target with one batch"),
        (joined(FAST, SLOW, speedup=False), "dense has a latency for onnxruntime:cpu, but there is no speedup for it"),
        (with_latency(SLOW, "dense", batch=8), "the sides under the key onnxruntime:cpu differ in batch"),
        (with_latency(over_processes([1.5, 1.6]), "pruned", processes=(20,)), "differ in processes"),
        (with_latency(SLOW, "pruned", p50=1.0), "a p50 of 1 ms and samples whose p50 is"),
        (with_latency(SLOW, "pruned", p99=1.0), "a p99 of 1 ms and samples whose p99 is"),
        (replace(SLOW, evaluation_images=-5, metric=None), "accuracy is of -5 images"),
        (replace(SLOW, evaluation_images=10**90, metric=None), "accuracy is of 10*0 images"),
        (replace(SLOW, pruned=replace(SLOW.pruned, macs=10**90)), r"pruned has a macs of 1e\+90"),
        (replace(SLOW, pruned=replace(SLOW.pruned, top1=1e9), metric=None), r"pruned has a top1 of 1e\+09"),
        (replace(SLOW, accuracy={CPU: Compared("mean IoU", 70.0, 1e9)}), r"mean IoU is 70 % dense and 1e\+09 % pruned"),
        (replace(SLOW, accuracy={CPU: Compared(TOP1, 0, 0, pairs=Pairs(10**90, 0, 0, 0))}), "10*0 images"),
        (replace(SLOW, pruned=replace(SLOW.pruned, macs=-5)), "pruned has a macs of -5"),
        (replace(SLOW, dense=replace(SLOW.dense, top1=5000.0), metric=None), "dense has a top1 of 5000"),
        (replace(SLOW, accuracy={CPU: Compared(TOP1, 50, -1)}), "top-1 accuracy is 50 % dense and -1 % pruned"),
        (
            replace(SLOW, pruned=replace(SLOW.pruned, ran={"tensorrt@fp16": Ran("", {"fp16": 1, "fp32": 9}, kept=10)})),
            "of 10 products for tensorrt@fp16 why they are in another precision, but 9 are",
        ),
        (replace(SLOW, dense=replace(SLOW.dense, ran={"tensorrt": Ran("CPU")})), "which is no target of ONNX Runtime"),
        (copies(), "the same samples of two processes"),
        (replace(SLOW, speedup={CPU: Interval(1.5, 1.6, 1.7)}), "which is no interval"),
        (replace(FAST, metric=replace(top1_of(82, 81), pairs=top1_of(82, 82).pairs)), "by image top-1 accuracy is"),
        (replace(FAST, accuracy={f"{CPU}@int8": replace(top1_of(9, 9), pairs=top1_of(99, 99).pairs)}), "by image"),
        (replace(FAST, pruned=replace(FAST.pruned, top1=9.0)), "pruned has a top1 of 9 %, but its metric says 81 %"),
    ],
)
def test_a_contradiction_is_refused_in_one_sentence(wrong: BenchResult, says: str, tmp_path: Path) -> None:
    wrong.save(tmp_path / "bench.json")
    with pytest.raises(BenchError, match=says) as caught:
        read_bench(tmp_path)
    assert str(caught.value).startswith(str(tmp_path)) and "\n" not in str(caught.value)


@pytest.mark.parametrize("found", [FAST, over_processes([1.5, 1.5]), result(top1=(None, None))])
def test_what_agrees_is_read(found: BenchResult, tmp_path: Path) -> None:
    found = replace(found, speedup={key: Interval(1.5, 1.5, 1.5) for key in found.speedup})
    found.save(tmp_path / "bench.json")
    assert read_bench(tmp_path) == found


def test_results_of_before_are_read() -> None:
    found = read_bench(Path(__file__).parents[2] / "benchmarks" / "results" / "demo.json")
    assert found.speedup and found.judged is not None
