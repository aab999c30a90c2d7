"""Objectives that remember: nothing is measured twice, and nothing is remembered that is not so."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from secateur.core.errors import RunError
from secateur.pipeline.plan.objective import remembered
from secateur.pipeline.structure.groups import Kept

ONE, TWO = {"a": (0, 1)}, {"a": [0, 2], "b": range(3)}


class Counting:
    """An objective that says how often it was made and asked."""

    def __init__(self, value: float = 0.5) -> None:
        self.value, self.made = value, 0
        self.asked: list[Kept] = []

    def make(self) -> Counting:
        self.made += 1
        return self

    def __call__(self, kept: Kept) -> float:
        self.asked.append(kept)
        return self.value


def test_a_candidate_is_measured_once_by_all_that_ask(tmp_path: Path) -> None:
    first, second = Counting(0.1), Counting(0.7)
    objective, other = (remembered(counting.make, tmp_path / "judged.json", "same") for counting in (first, second))
    assert first.made == 0
    assert [objective(ONE), objective(TWO), objective({"a": [0, 1]})] == [0.1, 0.1, 0.1]
    assert (first.made, first.asked) == (1, [ONE, TWO])
    assert [other({"b": [0, 1, 2], "a": [0, 2]}), other(ONE)] == [0.1, 0.1]
    assert second.made == 0
    assert [other({}), objective({})] == [0.7, 0.7]
    assert (second.made, second.asked) == (1, [{}])


def test_values_of_another_identity_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "judged.json"
    remembered(Counting(0.1).make, path, "old")(ONE)
    assert remembered(Counting(0.7).make, path, "new")(ONE) == 0.7
    assert remembered(Counting(0.9).make, path, "old")(ONE) == 0.9


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_not_kept(value: float, tmp_path: Path) -> None:
    path = tmp_path / "judged.json"
    assert not math.isfinite(remembered(Counting(value).make, path, "same")(ONE))
    assert remembered(Counting(0.7).make, path, "same")(ONE) == 0.7


def test_a_file_that_is_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "judged.json").write_text("{")
    with pytest.raises(RunError, match="is not valid JSON"):
        remembered(Counting().make, tmp_path / "judged.json", "same")(ONE)
