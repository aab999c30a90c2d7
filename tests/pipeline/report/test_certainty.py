"""A change counts where its whole interval says so."""

from __future__ import annotations

import pytest

from secateur.benchmarks.gating.matched_pairs import Pairs
from secateur.benchmarks.results_file import Compared
from secateur.pipeline.report.certainty import Change, change_of, judged


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [(1.01, 1.2, "gain"), (0.8, 0.99, "loss"), (0.97, 1.06, "unclear"), (1.0, 1.2, "unclear"), (0.9, 1.0, "unclear")],
)
def test_an_interval_that_holds_nothing_or_touches_it_shows_nothing(low: float, high: float, shown: str) -> None:
    assert judged(low, high, 1) == shown


def test_a_loss_on_the_same_images_is_shown_where_one_on_other_images_is_not() -> None:
    pairs = Pairs(1000, 820, 30, 10)
    same = change_of(Compared("top-1 accuracy", 82.0, 80.0, pairs=pairs), 1000)
    other = change_of(Compared("top-1 accuracy", 82.0, 80.0), 1000)
    assert (same.judged, other.judged) == ("loss", "unclear")
    assert same.low is not None and other.low is not None and other.low < same.low < same.value == -2


@pytest.mark.parametrize(
    ("found", "value"),
    [
        (Compared("RMSE", 2.0, 2.5, higher_is_better=False, unit=""), -0.5),
        (Compared("mAP", 50.0, 51.25), 1.25),
        (Compared("top-1 accuracy", 82.0, 70.0), -12.0),
    ],
)
def test_without_an_interval_nothing_is_shown(found: Compared, value: float) -> None:
    change = change_of(found, None)
    assert (change.value, change.low, change.judged) == (value, None, "unclear")


@pytest.mark.parametrize(
    ("low", "high", "unknown"),
    [(-39.0, 39.0, True), (-5.1, 5.1, True), (-4.9, 4.9, False), (-6.0, 3.0, False), (-39.0, -5.0, False)],
)
def test_a_wide_interval_that_shows_nothing_is_of_too_few_images(low: float, high: float, unknown: bool) -> None:
    assert Change((low + high) / 2, low, high).unknown == unknown
    assert not Change(0.0).unknown
