"""What a score said: units by rank, and the threshold below which they went."""

from __future__ import annotations

import pytest
import torch

from secateur.pipeline.report.score_curves import BINS, score_curves
from secateur.pipeline.scores.score import Scores
from tests.pipeline.report.findings import row

GROUPS = [row("a", "mlp_hidden", 4), row("b", "mlp_hidden", 4), row("c", "channel", 100)]


def test_units_stand_by_rank_and_the_threshold_is_the_least_score_that_stayed() -> None:
    scores = Scores({"a": torch.tensor([1.0, 16.0, 4.0, 0.0])}, "taylor")
    (curve,) = score_curves(GROUPS, scores, {"a": (1, 2)})
    assert [bar.height for bar in curve.bars] == pytest.approx([100, 50, 25, 0])  # square roots
    assert [bar.kept for bar in curve.bars] == [100, 100, 0, 0]
    assert [bar.place for bar in curve.bars] == [0, 25, 50, 75]
    assert (curve.threshold, curve.level, curve.above) == (4.0, 50, 0)
    assert curve.said == "a: 2 of 4 stayed, with scores of 4 and more"


def test_units_that_went_above_the_threshold_are_counted() -> None:
    (curve,) = score_curves(GROUPS, Scores({"a": torch.tensor([1.0, 16.0, 4.0, 9.0])}, "x"), {"a": (0, 1)})
    assert (curve.threshold, curve.above) == (1.0, 2)
    assert "2 with a higher score went" in curve.said


def test_many_units_share_bars_and_signed_and_class_wise_scores_are_drawn() -> None:
    values = torch.linspace(-1, 1, 100)
    curves = score_curves(
        GROUPS, Scores({"c": values, "b": torch.ones(3, 4)}, "x"), {"c": tuple(range(60, 100)), "b": ()}
    )
    by_name = {curve.name: curve for curve in curves}
    assert len(by_name["c"].bars) == BINS
    assert sum(bar.width for bar in by_name["c"].bars) == pytest.approx(100)
    assert sum(bar.width * bar.kept for bar in by_name["c"].bars) / 100 == pytest.approx(40)
    assert all(0 <= bar.height <= 100 for curve in curves for bar in curve.bars)
    assert (by_name["b"].threshold, by_name["b"].said) == (None, "b: 0 of 4 stayed")


def test_groups_without_scores_or_that_kept_all_have_no_curve() -> None:
    assert score_curves(GROUPS, Scores({"a": torch.ones(4)}, "x"), {"b": (0,)}) == []
