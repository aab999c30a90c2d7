"""The interval of a paired difference: its definition, its coverage, and counts that cannot be."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.stats import chi2, norm

from secateur.benchmarks.gating.matched_pairs import Pairs
from secateur.core.errors import BenchError


def test_the_loss_is_that_of_the_images_on_which_both_sides_differ() -> None:
    assert Pairs(200, 150, 12, 4).loss == pytest.approx(4.0)
    assert Pairs(200, 150, 4, 12).loss == pytest.approx(-4.0)


@pytest.mark.parametrize(
    ("counts", "level"), [((1600, 944, 150, 86), 0.95), ((44, 43, 0, 1), 0.9), ((300, 200, 7, 7), 0.95)]
)
def test_the_ends_are_the_losses_that_the_score_test_just_rejects(counts: tuple[int, ...], level: float) -> None:
    """The likeliest table of each loss is found by search here, over the share that the pruned side alone has right."""
    images, _, lost, won = counts
    bound = norm.ppf((1 + level) / 2)
    for end in Pairs(*counts).loss_interval(level):
        loss = end / 100
        shares = np.linspace(max(0, -loss) + 1e-9, (1 - loss) / 2 - 1e-9, 400_001)
        likely = (
            lost * np.log(shares + loss) + won * np.log(shares) + (images - lost - won) * np.log1p(-2 * shares - loss)
        )
        share = shares[np.nanargmax(likely)]
        error = np.sqrt(images * (2 * share + loss - loss**2))
        assert abs(lost - won - images * loss) / error == pytest.approx(bound, rel=1e-3)


def test_the_test_of_no_difference_is_that_of_mcnemar() -> None:
    lost, won = 25, 10
    level = 1 - float(chi2.sf((lost - won) ** 2 / (lost + won), 1))
    assert Pairs(500, 400, lost, won).loss_interval(level)[0] == pytest.approx(0, abs=1e-6)


@cache
def interval(images: int, lost: int, won: int) -> tuple[float, float]:
    return Pairs(images, images - won, lost, won).loss_interval()


@pytest.mark.parametrize(("lost", "won", "images"), [(0.02, 0.01, 300), (0.10, 0.06, 100), (0.004, 0.0, 1000)])
def test_it_holds_its_level(lost: float, won: float, images: int) -> None:
    """Of 2000 draws, about 1900 hold the true difference, with a standard error of 10; of Agresti and Min's 1810."""
    draws = np.random.default_rng(0).multinomial(images, [lost, won, 1 - lost - won], size=2000)
    found = np.array([interval(images, int(a), int(b)) for a, b, _ in draws])
    assert 1840 <= ((found[:, 0] <= 100 * (lost - won)) & (100 * (lost - won) <= found[:, 1])).sum() <= 1950


def test_it_is_sharper_than_one_of_other_images_where_both_sides_agree() -> None:
    low, high = Pairs(1000, 820, 15, 5).loss_interval()
    assert high - low < 2  # of independent images about 6.8


def test_no_difference_at_all_has_an_interval_and_a_higher_level_a_wider_one() -> None:
    low, high = Pairs(100, 90, 0, 0).loss_interval()
    assert (low, high) == (pytest.approx(-3.7, abs=0.01), pytest.approx(3.7, abs=0.01))  # Wilson's of 0 in 100
    assert Pairs(100, 100, 100, 0).loss_interval()[1] == 100
    assert Pairs(100, 90, 5, 2).loss_interval(0.99)[1] > Pairs(100, 90, 5, 2).loss_interval(0.95)[1]


@pytest.mark.parametrize("counts", [(10, 11, 0, 0), (10, 5, 6, 0), (10, 5, 0, 6), (10, 5, -1, 0)])
def test_counts_that_cannot_be_are_refused(counts: tuple[int, int, int, int]) -> None:
    with pytest.raises(BenchError, match="which cannot be: measure again"):
        Pairs(*counts)


def test_no_images_have_no_interval() -> None:
    with pytest.raises(BenchError, match="no image was answered"):
        Pairs(0, 0, 0, 0).loss_interval()
