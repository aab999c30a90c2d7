"""The picture of a search: one panel for the order of trials, and one for each choice that was made."""

from __future__ import annotations

import pytest

from secateur.core.study import TrialRow
from secateur.pipeline.analysis.search_figure import COLOURS, search_figure
from secateur.pipeline.scores.lrp.composite import DEPTHS

RULES = {f"{depth}_rule": "epsilon" for depth in DEPTHS}
TRIALS = (
    TrialRow(0, 50.0, True, {**RULES, "aggregate": "signed"}),
    TrialRow(1, 70.0, False, {**RULES, "first_rule": "gamma", "first_gamma": 0.3, "aggregate": "signed"}),
    TrialRow(2, 60.0, True, {**RULES, "last_rule": "z_plus", "aggregate": "absolute_mean"}),
)


def test_every_trial_is_in_every_panel_of_a_choice_that_it_made() -> None:
    figure = search_figure(TRIALS)
    order, *choices = figure.axes
    assert [axes.get_title(loc="left") for axes in choices] == [
        *(f"{depth} rule" for depth in DEPTHS),
        "aggregate",
    ]  # no model with attention, and gammas are no choice of their own
    first = choices[0]
    points = [line.get_xydata()[0].tolist() for line in first.lines]
    words = [label.get_text() for label in first.get_xticklabels()]
    assert [(words[int(x)], y) for x, y in points] == [("epsilon", 50.0), ("gamma", 70.0), ("epsilon", 60.0)]
    assert {line.get_color() for line in order.lines} == {*COLOURS.values(), "#c0392b"}


def test_the_best_so_far_counts_completed_trials_only() -> None:
    order = search_figure(TRIALS).axes[0]
    best = [line.get_ydata()[0] for line in order.lines if line.get_marker() == "_"]
    assert best == [50.0, 50.0, pytest.approx(60.0)]
