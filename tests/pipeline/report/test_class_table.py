"""Every class with its images, what both models have right of them, and what that shows."""

from __future__ import annotations

from dataclasses import replace

from secateur.benchmarks.gating.matched_pairs import Pairs
from secateur.benchmarks.results_file import Compared
from secateur.pipeline.report.class_table import SHOWN, class_table
from tests.pipeline.report.findings import findings


def test_classes_that_lost_most_come_first_with_their_intervals() -> None:
    by_class = {"ant": Pairs(50, 40, 2, 2), "n01440764": Pairs(50, 45, 30, 0), "none": Pairs(0, 0, 0, 0)}
    metric = Compared("top-1 accuracy", 85, 55, by_class=by_class)
    table = class_table(replace(findings().bench, metric=metric))
    assert table is not None
    assert [row[:4] for row in table.rows] == [
        ("tench (n01440764)", "50", "90 %", "30 %"),
        ("ant", "50", "80 %", "80 %"),
    ]
    assert table.rows[0][4].startswith("-60 [-")
    assert table.rows[1][4].startswith(("+0 [-", "-0 [-"))
    assert table.said == "1 of 2 classes are shown to be worse by their own images, 0 to be better."


def test_of_many_classes_the_middle_is_left_out_and_counted() -> None:
    by_class = {str(number): Pairs(1000, 500, number, 0) for number in range(SHOWN + 7)}
    table = class_table(replace(findings().bench, metric=Compared("top-1 accuracy", 50, 40, by_class=by_class)))
    assert table is not None
    assert len(table.rows) == SHOWN
    assert (table.rows[0][0], table.rows[-1][0]) == (str(SHOWN + 6), "0")
    assert table.said.endswith("7 in the middle are left out.")


def test_without_results_by_class_there_is_no_table() -> None:
    assert class_table(findings().bench) is None
    assert class_table(replace(findings().bench, metric=Compared("RMSE", 1, 2, False, ""))) is None
