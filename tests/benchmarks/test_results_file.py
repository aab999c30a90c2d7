"""bench.json: what is written is read again, and damage is refused in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from secateur.benchmarks.bootstrap import Interval
from secateur.benchmarks.environment import environment
from secateur.benchmarks.results_file import TAIL_SAMPLES, Compared, Latency, Narrowed, read_bench
from secateur.core.errors import BenchError, RunError
from tests.benchmarks.samples import result


def test_it_comes_back_as_it_was_written(tmp_path: Path) -> None:
    found = result(targets={"torch:cpu@b1": 1, "torch:cpu@b8": 8}, environment=environment())
    found.save(tmp_path / "bench.json")
    assert read_bench(tmp_path / "bench.json") == found
    assert read_bench(tmp_path) == found


def test_its_keys_are_those_of_the_design(tmp_path: Path) -> None:
    result().save(tmp_path / "bench.json")
    content = json.loads((tmp_path / "bench.json").read_text())
    assert content["schema"] == "secateur.bench/1"
    assert {"environment", "dense", "pruned", "speedup"} <= set(content)
    assert {"macs", "params", "size_bytes", "top1", "latency_ms"} <= set(content["dense"])
    latency = content["dense"]["latency_ms"]["onnxruntime:cpu"]
    assert set(latency) == {"batch", "p50", "p90", "p99", "samples", "p999", "mode", "stopped", "processes"}
    assert set(content["speedup"]["onnxruntime:cpu"]) == {"ratio", "low", "high"}


def remove(*keys: str) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        *parents, last = keys
        for parent in parents:
            content = content[parent]
        del content[last]

    return change


def replace_schema(content: dict[str, Any]) -> None:
    content["schema"] = "secateur.latency/1"


def break_macs(content: dict[str, Any]) -> None:
    content["pruned"]["macs"] = "many"


def no_samples(content: dict[str, Any]) -> None:
    content["dense"]["latency_ms"]["torch:cpu@b1"]["samples"] = []


def other_batch(content: dict[str, Any]) -> None:
    content["dense"]["latency_ms"]["torch:cpu@b1"]["batch"] = 2


def other_mode(content: dict[str, Any]) -> None:
    content["pruned"]["latency_ms"]["torch:cpu@b1"]["mode"] = "cold"


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (replace_schema, RunError, "'secateur.latency/1'"),
        (remove("schema"), RunError, "None"),
        (remove("environment"), BenchError, "environment: Field required"),
        (remove("dense", "latency_ms", "torch:cpu@b1", "p90"), BenchError, r"dense.latency_ms.torch:cpu@b1.p90"),
        (remove("pruned", "latency_ms", "torch:cpu@b1"), BenchError, "pruned has no latency"),
        (break_macs, BenchError, "pruned.macs"),
        (no_samples, BenchError, "no raw samples"),
        (other_batch, BenchError, "batch of 2"),
        (other_mode, BenchError, "the mode cold under the key torch:cpu@b1"),
    ],
)
def test_damage_is_refused_in_one_sentence(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], error: type[Exception], says: str
) -> None:
    path = tmp_path / "bench.json"
    result(targets={"torch:cpu@b1": 1}).save(path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(error, match=says) as caught:
        read_bench(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [None, "", "[]", "{", "null"])
def test_what_is_no_bench_json_is_refused(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "bench.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(RunError, match=r"bench\.json"):
        read_bench(path)


def test_percentiles_of_samples() -> None:
    found = Latency.of([3.0, 1.0, 2.0], batch=4)
    assert (found.batch, found.p50, found.samples) == (4, 2.0, (3.0, 1.0, 2.0))
    assert (found.p999, found.images_per_second) == (None, 2000)
    rare = [1.0] * (TAIL_SAMPLES - 6) + [50.0] * 6
    assert Latency.of(rare[1:], 1).p999 is None
    tail = Latency.of(rare, 4, "throughput:3", "samples")
    assert (tail.p99, tail.p999, tail.images_per_second) == (1.0, 50.0, 12_000)


def test_a_file_without_a_metric_is_judged_by_top1(tmp_path: Path) -> None:
    old = replace(result(), metric=None)
    assert old.judged == Compared("top-1 accuracy", 82.0, 81.0)
    assert replace(old, dense=replace(old.dense, top1=None)).judged is None
    errors = Compared("RMSE", 2.0, 2.5, higher_is_better=False, unit="")
    replace(old, metric=errors, other_metrics=(Compared("R2", 0.9, 0.8, unit=""),)).save(tmp_path / "bench.json")
    again = read_bench(tmp_path)
    assert (again.judged, errors.loss, again.other_metrics[0].loss) == (errors, 0.5, pytest.approx(0.1))
    content = json.loads((tmp_path / "bench.json").read_text())
    for key in ("metric", "other_metrics"):  # as a former version wrote it
        del content[key]
    (tmp_path / "bench.json").write_text(json.dumps(content))
    assert read_bench(tmp_path).metric is None


def test_eight_bits_are_kept_where_the_whole_interval_says_that_they_are_faster() -> None:
    latency = Latency.of([1.0, 2.0], 4)

    def narrowed(*interval: float) -> Narrowed:
        return Narrowed("onnxruntime:cpu", "int8", "fp16", latency, latency, Interval(*interval))

    assert narrowed(1.2, 1.1, 1.3).keeps == "int8"
    assert narrowed(1.2, 1.1, 1.3).said.endswith("batch 4: int8 is 1.200 [1.100, 1.300] times as fast as fp16")
    for interval, words in (((1.1, 0.9, 1.3), "is not shown to be faster"), ((0.9, 0.8, 0.95), "is not faster")):
        assert narrowed(*interval).keeps == "fp16"
        assert f"int8 {words} than fp16" in narrowed(*interval).said
