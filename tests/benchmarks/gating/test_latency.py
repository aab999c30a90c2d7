"""Limits on milliseconds: the candidate's own, and how far the dense side drifted since the baseline."""

from __future__ import annotations

from dataclasses import replace

import pytest

from secateur.benchmarks.gate import judge
from secateur.benchmarks.limits import Limits
from secateur.benchmarks.results_file import BenchResult, Latency
from secateur.core.errors import BenchError
from tests.benchmarks.samples import result

BASELINE = result(1.5, seed=1)


def slower(found: BenchResult, factor: float) -> BenchResult:
    """The same measurement where everything took `factor` times as long."""

    def side(which: str) -> dict[str, Latency]:
        latencies = getattr(found, which).latency_ms
        return {key: Latency.of([factor * ms for ms in one.samples], one.batch) for key, one in latencies.items()}

    return replace(
        found,
        dense=replace(found.dense, latency_ms=side("dense")),
        pruned=replace(found.pruned, latency_ms=side("pruned")),
    )


@pytest.mark.parametrize(("limit", "outcome"), [(9.0, "pass"), (5.0, "fail")])
def test_the_candidates_median_is_limited_in_milliseconds(limit: float, outcome: str) -> None:
    verdict = judge(result(1.5), None, Limits(max_latency=limit))
    (check,) = verdict.checks
    assert (check.name, check.outcome) == ("latency", outcome)
    assert f"at most {limit:g} ms are allowed" in check.sentence


def test_a_median_near_the_limit_is_inconclusive() -> None:
    found = result(1.5)
    limit = found.pruned.latency_ms["onnxruntime:cpu"].p50
    assert judge(found, None, Limits(max_latency=limit)).outcome == "inconclusive"


def test_a_slow_tail_fails_though_the_median_passes() -> None:
    found = result(1.5, blocks=400)
    latency = found.pruned.latency_ms["onnxruntime:cpu"]
    tail = [ms * (6 if place % 25 == 0 else 1) for place, ms in enumerate(latency.samples)]
    late = replace(found, pruned=replace(found.pruned, latency_ms={"onnxruntime:cpu": Latency.of(tail, 1)}))
    limits = Limits(max_latency=9, max_p90=12, max_p99=25)
    assert judge(found, None, limits).outcome != "fail"
    assert [check.outcome for check in judge(late, None, limits).checks] == ["pass", "pass", "fail"]


def test_few_samples_say_nothing_of_the_99th_percentile() -> None:
    (check,) = judge(result(1.5, blocks=60), None, Limits(max_p99=1000)).checks
    assert check.outcome == "inconclusive"
    assert "120 samples are too few for it (500 are needed)" in check.sentence
    (check,) = judge(result(1.5, blocks=250), None, Limits(max_p99=1000)).checks
    assert check.outcome == "pass"


def test_both_sides_three_times_as_slow_do_not_pass() -> None:
    """A runtime that fell back, or a throttled machine: the speedup is what it was."""
    late = slower(result(1.5, seed=2), 3)
    verdict = judge(late, BASELINE, Limits())
    assert {check.name: check.outcome for check in verdict.checks} == {"relative": "pass", "drift": "inconclusive"}
    assert verdict.exit_code == 3
    assert "the dense side takes 2.9" in verdict.sentence
    assert "a new baseline where it has changed for good" in verdict.sentence
    assert judge(late, BASELINE, Limits(max_drift=1.2)).outcome == "fail"
    assert judge(late, BASELINE, Limits(max_drift=4)).outcome == "pass"


def test_a_drift_within_the_usual_passes() -> None:
    assert judge(slower(result(1.5, seed=2), 1.2), BASELINE, Limits()).outcome == "pass"
    assert judge(slower(result(1.5, seed=2), 0.5), BASELINE, Limits()).outcome == "pass"


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"max_latency": 0}, "got max_latency 0: give milliseconds above 0"),
        ({"max_p90": float("nan")}, "got max_p90 nan"),
        ({"max_p99": -1}, "got max_p99 -1"),
        ({"max_drift": 0.9}, "got max_drift 0.9: give a ratio of 1 or more"),
        ({"min_top1": 0.9}, "looks like a share: give percent, such as 90"),
    ],
)
def test_limits_that_cannot_be_meant_are_refused(limits: dict[str, float], said: str) -> None:
    with pytest.raises(BenchError, match=said):
        Limits(**limits)  # type: ignore[arg-type]


def test_drift_needs_a_baseline() -> None:
    with pytest.raises(BenchError, match=r"give a baseline's bench\.json too"):
        judge(result(), None, Limits(max_drift=1.2))
