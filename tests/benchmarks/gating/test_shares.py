"""Intervals of shares and of losses, by their definitions."""

from __future__ import annotations

import pytest
from scipy import stats

from secateur.benchmarks.gating.matched_pairs import Pairs
from secateur.benchmarks.gating.shares import loss_interval, share_interval
from secateur.benchmarks.keys import TOP1
from secateur.benchmarks.results_file import Compared


@pytest.mark.parametrize(("percent", "images"), [(81.0, 1000), (50.0, 10), (0.0, 20), (100.0, 20)])
def test_a_share_has_the_interval_of_wilson(percent: float, images: int) -> None:
    low, high = share_interval(percent, images)
    z, share = stats.norm.ppf(0.975), percent / 100
    half = z * (share * (1 - share) / images + z**2 / (4 * images**2)) ** 0.5 / (1 + z**2 / images)
    middle = (share + z**2 / (2 * images)) / (1 + z**2 / images)
    assert (low, high) == (pytest.approx(100 * (middle - half)), pytest.approx(100 * (middle + half)))


def test_a_loss_is_that_on_the_same_images_where_they_are_known() -> None:
    pairs = Pairs(1000, 820, 30, 10)
    assert loss_interval(Compared(TOP1, 82.0, 80.0, pairs=pairs), 1000) == pairs.loss_interval()
    apart = loss_interval(Compared(TOP1, 82.0, 80.0), 1000)
    assert apart is not None
    assert apart[0] < pairs.loss_interval()[0] < 2.0 < pairs.loss_interval()[1] < apart[1]


@pytest.mark.parametrize("images", [None, 0])
def test_without_a_number_of_images_and_for_other_metrics_there_is_none(images: int | None) -> None:
    assert loss_interval(Compared(TOP1, 82.0, 80.0), images) is None
    assert loss_interval(Compared("RMSE", 2.0, 2.5, False, ""), 1000) is None
