"""Times in turns: the order of the calls, when it ends, and an interval that is that of the benchmarks' own."""

from __future__ import annotations

import gc
import json

import numpy as np
import pytest
from scipy import stats

from secateur.benchmarks import bootstrap
from secateur.export.runner import bench
from secateur.export.runner.bench import Times, describe, measure, ratio_interval
from secateur.export.runner.errors import InferenceError


@pytest.fixture(autouse=True)
def few_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is collected: the objects of all other tests are many."""
    monkeypatch.setattr(gc, "collect", lambda: 0)


def test_sides_take_turns_and_runs_after_a_change_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(bench, "_timed", lambda call: call() or len(calls))
    monkeypatch.setattr(bench, "_warm_up", lambda sides, seconds: [side() for side in sides])
    found = measure(lambda: calls.append("b"), lambda: calls.append("a"), seconds=1e-9)
    assert "".join(calls) == "ab" + "aabbbaa" * 10
    assert (len(found.pruned_ns), len(found.dense_ns)) == (20, 20)
    assert gc.isenabled()


def test_one_side_alone() -> None:
    found = measure(lambda: None, seconds=1e-9)
    assert (len(found.pruned_ns), found.dense_ns) == (20, ())
    assert min(found.pruned_ns) >= 0


def test_it_ends_at_the_number_of_samples() -> None:
    assert len(measure(lambda: None, lambda: None, seconds=1e-3, samples=20).dense_ns) == 20
    for wrong in ({"seconds": 0.0}, {"samples": 10}):
        with pytest.raises(InferenceError, match="are needed"):
            measure(lambda: None, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("blocks", [10, 40, 200])
def test_the_interval_is_that_of_the_benchmarks(blocks: int) -> None:
    draws = np.random.default_rng(blocks)
    a, b = draws.lognormal(0.7, 0.1, 2 * blocks), draws.lognormal(0.0, 0.1, 2 * blocks)
    mine, reference = ratio_interval(a.tolist(), b.tolist()), bootstrap.ratio_interval(a, b)
    assert mine.ratio == pytest.approx(reference.ratio)
    assert (mine.low, mine.high) == (pytest.approx(reference.low, rel=0.02), pytest.approx(reference.high, rel=0.02))


def test_the_quantile_of_student() -> None:
    for freedom in (3, 4, 9, 30, 500):
        assert bench._t975(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=0.01)


def test_samples_that_do_not_pair() -> None:
    for a, b in (([1.0] * 10, [1.0] * 12), ([1.0] * 8, [1.0] * 8), ([0.0] * 10, [1.0] * 10)):
        with pytest.raises(InferenceError, match="as many of each side"):
            ratio_interval(a, b)


def test_what_was_measured_as_json() -> None:
    found = describe(Times((2_000_000,) * 20, (3_000_000,) * 20), "onnxruntime:cpu", 1, 2, "1.20")
    assert json.loads(json.dumps(found)) == found
    assert found["latency_ms"] == {
        "pruned": dict.fromkeys(("p50", "p90", "p99"), 2.0),
        "dense": dict.fromkeys(("p50", "p90", "p99"), 3.0),
    }
    assert found["speedup"]["ratio"] == 1.5
    assert "speedup" not in describe(Times((1,) * 20), "x", 1, None, "")
