"""The gate: right verdicts on planted truths, and refusals where two measurements cannot be compared."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from secateur.benchmarks.gate import judge, together
from secateur.benchmarks.gating.verdict_files import junit
from secateur.benchmarks.limits import Limits
from secateur.benchmarks.results_file import BenchResult, Compared, Side
from secateur.core.errors import BenchError
from tests.benchmarks.samples import HERE, result

FAST = Limits(min_speedup=1.3)


def rates(truth: float, trials: int = 60, blocks: int = 60) -> Counter[str]:
    """How often each outcome comes up where the true speedup is `truth` and 1.3 is wanted."""
    return Counter(judge(result(truth, blocks, seed), None, FAST).outcome for seed in range(trials))


def test_a_faster_candidate_passes_and_a_slower_one_fails() -> None:
    assert rates(1.5, blocks=30)["pass"] >= 57
    assert rates(1.15, blocks=30)["fail"] >= 57


def test_at_the_limit_it_is_inconclusive_and_rarely_wrong() -> None:
    found = rates(1.3)
    assert found["inconclusive"] >= 50
    assert found["pass"] <= 6
    assert found["fail"] <= 6


def test_a_truth_below_the_limit_hardly_ever_passes() -> None:
    assert rates(1.27, blocks=20)["pass"] <= 3


def test_exit_codes_and_the_sentence() -> None:
    passed, failed, open_ = (judge(result(truth), None, FAST) for truth in (1.6, 1.0, 1.3))
    assert (passed.exit_code, failed.exit_code, open_.exit_code) == (0, 1, 3)
    assert passed.sentence.startswith("pass: onnxruntime:cpu batch 1: 1.597 [1.5")
    assert "at least 1.3 is wanted" in failed.sentence
    assert "measure again (--retries) or for longer (bench.seconds)" in open_.sentence


def test_without_limits_a_candidate_must_be_faster_than_dense() -> None:
    assert judge(result(1.2), None, Limits()).outcome == "pass"
    assert judge(result(0.8), None, Limits()).outcome == "fail"


def test_without_a_limit_on_speed_only_the_others_count() -> None:
    verdict = judge(result(0.8), None, Limits(max_drop=8.0))
    assert [check.name for check in verdict.checks] == ["drop"]
    assert verdict.outcome == "pass"


def test_every_target_counts_and_one_failure_fails() -> None:
    good, bad = result(1.6, targets={"torch:cpu": 1}), result(1.0, targets={"onnxruntime:cpu": 1})
    both = replace(
        good,
        dense=replace(good.dense, latency_ms={**good.dense.latency_ms, **bad.dense.latency_ms}),
        pruned=replace(good.pruned, latency_ms={**good.pruned.latency_ms, **bad.pruned.latency_ms}),
        speedup={**good.speedup, **bad.speedup},
    )
    assert judge(both, None, FAST).outcome == "fail"
    assert judge(both, None, replace(FAST, targets=("torch:cpu",))).outcome == "pass"


def test_one_batch_of_a_target_can_be_named() -> None:
    found = result(1.6, targets={"torch:cpu@b1": 1, "torch:cpu@b8": 8})
    verdict = judge(found, None, replace(FAST, targets=("torch:cpu@b8",)))
    assert [check.batch for check in verdict.checks] == [8]
    assert len(judge(found, None, replace(FAST, targets=("torch:cpu",))).checks) == 2


# --- against a baseline ---


def relative_outcome(candidate: float, baseline: float, blocks: int = 200) -> str:
    verdict = judge(result(candidate, blocks, seed=1), result(baseline, blocks, seed=2), Limits())
    assert [check.name for check in verdict.checks] == ["relative", "drift"]
    return verdict.outcome


def test_a_candidate_that_keeps_the_speedup_passes_and_a_regression_fails() -> None:
    assert relative_outcome(1.6, 1.6) == "pass"
    assert relative_outcome(2.0, 1.6) == "pass"
    assert relative_outcome(1.3, 1.6) == "fail"
    assert relative_outcome(1.52, 1.6, blocks=20) == "inconclusive"


def test_the_baseline_may_come_from_a_slower_machine_of_the_kind() -> None:
    """Milliseconds are not compared: three times as many change nothing."""

    def slower(found: BenchResult) -> BenchResult:
        sides = {}
        for name in ("dense", "pruned"):
            side = getattr(found, name)
            latency = {
                key: replace(value, samples=tuple(3 * ms for ms in value.samples))
                for key, value in side.latency_ms.items()
            }
            sides[name] = replace(side, latency_ms=latency)
        return replace(found, **sides)

    candidate, baseline = result(1.6, seed=1), result(1.6, seed=2)
    one, two = (judge(candidate, other, Limits()).checks[0] for other in (baseline, slower(baseline)))
    assert (one.value, one.low, one.high) == pytest.approx((two.value, two.low, two.high))


def test_both_limits_hold_with_a_baseline() -> None:
    verdict = judge(result(1.2, 200, seed=1), result(1.2, 200, seed=2), FAST)
    assert {check.name: check.outcome for check in verdict.checks} == {
        "speedup": "fail",
        "relative": "pass",
        "drift": "pass",
    }
    assert verdict.outcome == "fail"


def test_another_kind_of_machine_is_refused_with_what_differs() -> None:
    other = result(environment=replace(HERE, cpu_model="B CPU"))
    with pytest.raises(BenchError, match=r"processor: 'B CPU' and 'A CPU'"):
        judge(result(), other, Limits())


def test_updates_are_noted_not_refused() -> None:
    older = result(environment=replace(HERE, versions={**HERE.versions, "onnxruntime": "1.20"}), seed=2)
    verdict = judge(result(seed=1), older, Limits())
    assert verdict.notes == ("changed since the baseline: onnxruntime 1.20 -> 1.22",)


def test_another_dense_model_is_refused() -> None:
    other = result()
    other = replace(other, dense=replace(other.dense, macs=999))
    with pytest.raises(BenchError, match="different dense models"):
        judge(result(), other, Limits())


def test_what_the_baseline_says_must_not_be_left_out_or_judged_otherwise() -> None:
    silent = replace(result(), dense=replace(result().dense, params=None))
    with pytest.raises(BenchError, match="has 500 params, and those of the candidate's are not in its file"):
        judge(silent, result(), Limits())
    assert judge(result(), silent, Limits()).outcome == "pass"
    other = replace(result(), metric=Compared("loss", 0.5, 0.6, False, ""))
    with pytest.raises(BenchError, match="judged by top-1 accuracy in % and the candidate by loss, of which max_drop"):
        judge(other, result(), Limits(max_drop=3))
    assert judge(other, result(), Limits()).outcome == "pass"
    fallen = result(top1=(50.0, 49.5))
    with pytest.raises(
        BenchError, match=r"dense model's top-1 accuracy fell from 82\.00 % at the baseline to 50\.00 %"
    ):
        judge(fallen, result(), Limits(max_drop=3))
    assert judge(fallen, result(), Limits()).outcome == "pass"
    assert judge(result(top1=(85.0, 84.0)), result(), Limits(max_drop=3)).outcome == "pass"


def test_a_target_that_the_candidate_dropped_is_refused() -> None:
    baseline = result(targets={"torch:cpu": 1, "onnxruntime:cpu": 1})
    candidate = result(targets={"torch:cpu": 1}, skipped={"onnxruntime:cpu": "it is not installed"})
    with pytest.raises(BenchError, match=r"onnxruntime:cpu with a batch of 1, .*it is not installed"):
        judge(candidate, baseline, Limits())
    assert judge(candidate, baseline, Limits(targets=("torch:cpu",))).checks


def test_a_target_that_is_new_is_noted() -> None:
    verdict = judge(result(targets={"torch:cpu": 1, "onnxruntime:cpu": 1}), result(targets={"torch:cpu": 1}), Limits())
    assert {check.target for check in verdict.checks} == {"torch:cpu"}
    assert verdict.notes == ("onnxruntime:cpu batch 1: the baseline has no measurement there",)


def test_batches_are_matched_whatever_the_keys() -> None:
    candidate = result(targets={"torch:cpu@b1": 1, "torch:cpu@b8": 8}, seed=1)
    verdict = judge(candidate, result(targets={"torch:cpu": 8}, seed=2), Limits(targets=("torch:cpu@b8",)))
    assert {(check.target, check.batch) for check in verdict.checks} == {("torch:cpu", 8)}
    with pytest.raises(BenchError, match="share no target"):
        judge(candidate, result(targets={"onnxruntime:cpu": 1}), Limits(targets=("torch:cpu",)))


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(BenchError, match="not measured on torch:cuda"):
        judge(result(), None, replace(FAST, targets=("torch:cuda",)))
    nothing = replace(result(), speedup={}, skipped={"torch:cuda": "there is no GPU"})
    with pytest.raises(BenchError, match=r"no target .*there is no GPU"):
        judge(nothing, None, FAST)
    with pytest.raises(BenchError, match="give a baseline"):
        judge(result(), None, Limits(min_relative=0.9))


# --- what was not measured ---


def test_what_was_asked_for_and_not_measured_is_inconclusive() -> None:
    found = result(1.6, skipped={"tensorrt": "there is no GPU", "torch:cpu@b8": "too large"})
    verdict = judge(found, None, FAST)
    assert (verdict.outcome, verdict.exit_code) == ("inconclusive", 3)
    assert [check.outcome for check in verdict.checks] == ["pass", "inconclusive", "inconclusive"]
    assert verdict.sentence == (
        "inconclusive (2 of 3 checks): tensorrt was asked for and not measured (there is no GPU); "
        "measure it where it can run, or name the targets to judge (--target)"
    )
    assert verdict.notes == tuple(check.sentence for check in verdict.checks[1:])
    assert verdict.checks[2].sentence == "torch:cpu batch 8 was asked for and not measured (too large)"
    assert judge(replace(found, speedup=result(1.0).speedup, **sides(1.0)), None, FAST).outcome == "fail"
    assert judge(found, result(1.6, seed=1), Limits()).outcome == "inconclusive"


def sides(speedup: float) -> dict[str, Side]:
    """The two sides of a planted result."""
    found = result(speedup)
    return {"dense": found.dense, "pruned": found.pruned}


@pytest.mark.parametrize(
    ("skipped", "words", "outcome"),
    [
        ("tensorrt", ("torch:cpu",), "pass"),
        ("torch:cpu@b32", ("torch:cpu@b8", "torch:cpu@b1"), "pass"),
        ("torch:cpu@fp16", ("torch:cpu",), "pass"),
        ("torch:cpu@b32", ("torch:cpu",), "inconclusive"),
        ("torch:cpu@b32", (), "inconclusive"),
    ],
)
def test_targets_that_are_named_leave_the_others_out(skipped: str, words: tuple[str, ...], outcome: str) -> None:
    found = result(1.6, targets={"torch:cpu@b1": 1, "torch:cpu@b8": 8}, skipped={skipped: "a reason"})
    assert judge(found, None, replace(FAST, targets=words)).outcome == outcome


def test_where_speed_is_not_judged_it_is_noted() -> None:
    verdict = judge(result(skipped={"tensorrt": "there is no GPU"}), None, Limits(max_drop=8.0))
    assert verdict.outcome == "pass"
    assert verdict.notes == ("tensorrt was asked for and not measured (there is no GPU)",)


def test_a_notebook_shows_a_row_for_each_check_and_note() -> None:
    verdict = replace(judge(result(1.6), None, FAST), notes=("a <word>",))
    table = verdict._repr_html_()
    assert table.count("<tr>") == 1 + len(verdict.checks) + 1
    assert ">pass</td>" in table and "a &lt;word&gt;" in table and "&lt;caption" not in table
    assert f"{verdict.sentence}</caption>" in table


def test_several_devices_have_one_verdict_and_the_worst_decides() -> None:
    fast, slow = (judge(result(speedup, 200), None, Limits(min_speedup=1.3)) for speedup in (1.5, 1.1))
    assert (fast.outcome, slow.outcome) == ("pass", "fail")
    noted = replace(fast, notes=("warm",), tries=2)
    both = together({"orin": noted, "thor": slow})
    assert (both.outcome, both.exit_code, both.tries, both.level) == ("fail", 1, 2, fast.level)
    assert [check.where for check in both.checks] == ["orin onnxruntime:cpu batch 1", "thor onnxruntime:cpu batch 1"]
    assert both.notes[0] == "orin: warm" and both.sentence.startswith("fail (1 of 2 checks) after 2 tries: thor: ")
    open_ = replace(fast, outcome="inconclusive")
    assert together({"a": fast, "b": open_}).outcome == "inconclusive"
    assert together({"a": fast, "b": fast}).outcome == "pass" and together({"a": open_, "b": slow}).outcome == "fail"
    assert junit(both).count("secateur.gate.orin.onnxruntime:cpu") == 1
