"""The verdict says what was gained and lost, and no more than the intervals show."""

from __future__ import annotations

from dataclasses import replace

import pytest

from secateur.benchmarks.bootstrap import Interval
from secateur.benchmarks.results_file import BenchResult
from secateur.pipeline.report.verdict import verdict_of
from tests.pipeline.report.findings import CPU, compared, findings, side

FAST, SAME, SLOW = Interval(1.6, 1.5, 1.7), Interval(1.0, 0.97, 1.06), Interval(0.5, 0.4, 0.6)


def of(*speeds: Interval, pruned: float = 81.0, images: int | None = 10_000) -> BenchResult:
    names = (CPU, "torch:cpu", "torch:cuda")
    bench = compared(side(200, 81.4, 8.0), side(100, pruned, 5.0), 1, 1, 1)
    return replace(bench, speedup=dict(zip(names, speeds, strict=False)), evaluation_images=images)


@pytest.mark.parametrize(
    ("bench", "shown"),
    [
        (of(FAST), "gain"),
        (of(FAST, SAME), "unclear"),
        (of(FAST, SLOW), "loss"),
        (of(SAME), "unclear"),
        (of(FAST, pruned=20.0), "unclear"),  # the reader's to weigh
        (of(SAME, pruned=20.0), "loss"),
        (of(), "unclear"),
    ],
)
def test_only_what_all_intervals_show_is_good_news(bench: BenchResult, shown: str) -> None:
    assert verdict_of(bench).judged == shown


def test_the_sentence_has_the_numbers_with_their_intervals() -> None:
    said = verdict_of(of(FAST, SAME, SLOW, pruned=20.0)).sentence
    assert said.startswith(
        f"With 50.0% of the MACs the pruned model is 1.60x faster [1.50, 1.70] on {CPU}, slower on torch:cuda, "
        "not shown to be faster on torch:cpu and loses top-1 accuracy (-61.40 points ["
    )


def test_what_is_not_shown_is_said_so() -> None:
    assert f"is not shown to be faster on {CPU} (1.00x as fast [0.97, 1.06])" in verdict_of(of(SAME)).sentence
    changed = verdict_of(of(FAST, images=10_000)).sentence
    assert "and is not shown to change its top-1 accuracy (-0.40 points [" in changed
    assert verdict_of(of(FAST, images=None)).sentence.endswith("by -0.40 points, without an interval.")
    kept = verdict_of(of(FAST, pruned=81.4, images=10_000)).sentence
    assert "and keeps its top-1 accuracy (+0.00 points [-1." in kept
    assert verdict_of(of(FAST, pruned=81.4, images=None)).sentence.endswith("and keeps its top-1 accuracy.")
    assert "has no latency yet and it " in verdict_of(of(images=10_000)).sentence


@pytest.mark.parametrize("pruned", [81.4, 81.0])
def test_so_few_images_that_nothing_is_known_are_no_good_news(pruned: float) -> None:
    """On six images nothing changed, and thirty points may be lost."""
    found = verdict_of(of(FAST, pruned=pruned, images=6))
    assert found.judged == "unclear"
    assert ", and 6 images are too few to tell what its top-1 accuracy has lost (" in found.sentence
    assert "keeps" not in found.sentence
    assert "has no latency yet, and 6 images" in verdict_of(of(pruned=pruned, images=6)).sentence
    assert verdict_of(of(FAST, pruned=pruned, images=10_000)).judged == "gain"


def test_without_a_metric_and_without_macs_the_speed_stands_alone() -> None:
    bench = findings().bench
    bare = replace(bench, dense=replace(bench.dense, top1=None, macs=None))
    assert verdict_of(bare).sentence == f"The pruned model is 1.60x faster [1.50, 1.70] on {CPU}."


def test_a_dense_model_that_guesses_has_nothing_to_keep() -> None:
    found = verdict_of(of(FAST), guesses=True)
    assert found.judged == "unclear"
    assert found.sentence.endswith("; but the dense model itself only guesses, so that there was none to lose.")
    assert verdict_of(of(FAST, SLOW), guesses=True).judged == "loss"
