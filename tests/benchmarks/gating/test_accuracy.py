"""Limits on accuracy go by intervals: paired ones, those of other images, and none where a metric has none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from secateur.benchmarks.gate import judge
from secateur.benchmarks.limits import Limits
from secateur.benchmarks.results_file import BenchResult, Compared
from secateur.core.errors import BenchError
from tests.benchmarks.samples import result, top1_of


def with_top1(lost: int, won: int) -> BenchResult:
    """A result of 1000 images, of which the dense side has 820 right."""
    return replace(result(), metric=top1_of(82.0, 82.0 + (won - lost) / 10, won))


@pytest.mark.parametrize(
    ("lost", "won", "outcome"), [(12, 10, "pass"), (70, 20, "fail"), (30, 12, "inconclusive"), (22, 12, "pass")]
)
def test_a_drop_is_judged_by_the_images_on_which_both_sides_differ(lost: int, won: int, outcome: str) -> None:
    (check,) = judge(with_top1(lost, won), None, Limits(max_drop=2.5)).checks
    assert (check.name, check.outcome, check.value) == ("drop", outcome, pytest.approx((lost - won) / 10))
    assert f"(the same 1000 images: {lost} lost, {won} won)" in check.sentence
    assert check.low is not None and check.high is not None and check.low < check.value < check.high


def test_what_an_interval_leaves_open_names_the_images_that_could_tell() -> None:
    verdict = judge(with_top1(30, 12), None, Limits(max_drop=2.5))
    assert "which 1000 images cannot tell (about 3" in verdict.sentence
    assert verdict.sentence.endswith("give more held-out images, or allow more")
    (check,) = judge(with_top1(30, 10), None, Limits(max_drop=2.0)).checks
    assert check.sentence.endswith("which 1000 images cannot tell")  # no number of them, where the limit is met exactly


def test_four_points_at_a_limit_of_half_a_point_are_inconclusive_on_few_images() -> None:
    few = replace(result(), metric=top1_of(85, 81, images=100))
    assert judge(few, None, Limits(max_drop=0.5)).outcome == "inconclusive"


def test_without_results_by_image_both_sides_count_as_of_other_images() -> None:
    found = replace(result(top1=(82.0, 78.0)), metric=None)
    (check,) = judge(found, None, Limits(max_drop=0.4)).checks
    assert check.outcome == "fail"
    assert "as of other images on each side, 1000 of them" in check.sentence
    assert (check.low, check.high) == (pytest.approx(0.5, abs=0.1), pytest.approx(7.5, abs=0.1))
    assert judge(found, None, Limits(max_drop=4.0)).outcome == "inconclusive"
    assert judge(found, None, Limits(max_drop=8.0)).outcome == "pass"


@pytest.mark.parametrize(("limit", "outcome"), [(78.0, "pass"), (81.0, "inconclusive"), (84.0, "fail")])
def test_top1_is_judged_by_the_interval_of_wilson(limit: float, outcome: str) -> None:
    (check,) = judge(result(), None, Limits(min_top1=limit)).checks
    assert (check.outcome, check.value) == (outcome, 81.0)
    assert (check.low, check.high) == (pytest.approx(78.45, abs=0.05), pytest.approx(83.3, abs=0.05))


def test_where_the_images_are_not_known_the_number_counts_and_that_is_said() -> None:
    found = replace(result(), metric=None, evaluation_images=None)
    checks = judge(found, None, Limits(min_top1=81.0, max_drop=1.0)).checks
    assert [check.outcome for check in checks] == ["pass", "pass"]
    assert "does not say on how many images" in checks[0].sentence
    assert "as a number, without an interval" in checks[1].sentence
    assert judge(found, None, Limits(max_drop=0.9)).outcome == "fail"
    with pytest.raises(BenchError, match="no metric and no top1"):
        judge(result(top1=(82.0, None)), None, Limits(max_drop=1.0))


def test_a_drop_is_that_of_the_metric_of_the_task() -> None:
    errors = Compared("RMSE", 2.0, 2.5, higher_is_better=False, unit="")
    found = judge(replace(result(top1=(None, None)), metric=errors), None, Limits(max_drop=0.4))
    assert found.outcome == "fail"
    assert "RMSE is worse by 0.5 (as a number, without an interval: 1000 images" in found.checks[0].sentence
    assert judge(replace(result(top1=(None, None)), metric=errors), None, Limits(max_drop=0.5)).outcome == "pass"
    share = replace(result(top1=(None, None)), metric=Compared("mIoU", 80.0, 79.5))
    assert judge(share, None, Limits(max_drop=0.6)).outcome == "pass"
    with pytest.raises(BenchError, match="percentage points"):
        judge(share, None, Limits(max_drop=200.0))
    with pytest.raises(BenchError, match="judged by mIoU: limit that with max_drop"):
        judge(share, None, Limits(min_top1=50.0))


# --- another precision has an accuracy of its own ---


def typed(accuracy: dict[str, Compared]) -> BenchResult:
    """A model whose PyTorch loses nothing, measured in fp32 and in int8."""
    measured = result(targets={"onnxruntime:cpu": 1, "onnxruntime:cpu@int8": 1}, top1=(82.0, 82.0))
    return replace(measured, accuracy=accuracy)


def test_the_accuracy_of_the_engine_is_limited_and_not_that_of_pytorch() -> None:
    found = typed({"onnxruntime:cpu@int8": top1_of(82.0, 73.5)})
    verdict = judge(found, None, Limits(max_drop=2.0))
    assert [(check.target, check.outcome) for check in verdict.checks] == [
        (None, "pass"),
        ("onnxruntime:cpu@int8", "fail"),
    ]
    assert "onnxruntime:cpu@int8: top-1 accuracy is worse by 8.50 [" in verdict.sentence
    alone = judge(found, None, Limits(max_drop=2.0, min_top1=80.0, targets=("onnxruntime:cpu@int8",)))
    assert [(check.name, check.target, check.outcome) for check in alone.checks] == [
        ("top1", "onnxruntime:cpu@int8", "fail"),
        ("drop", "onnxruntime:cpu@int8", "fail"),
    ]
    assert judge(found, None, Limits(max_drop=2.0, targets=("onnxruntime:cpu",))).outcome == "pass"


def test_an_engine_whose_accuracy_was_not_measured_is_inconclusive() -> None:
    verdict = judge(typed({}), None, Limits(max_drop=2.0))
    assert verdict.outcome == "inconclusive"
    assert "what onnxruntime:cpu@int8 has right was not measured" in verdict.sentence
    assert verdict.sentence.endswith("measure again with `secateur bench`")
