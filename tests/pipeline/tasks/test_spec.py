"""The section `task` of a recipe."""

from __future__ import annotations

import pytest

from secateur.core.errors import RecipeError
from secateur.pipeline.tasks.classify import Classify
from secateur.pipeline.tasks.spec import TaskSpec
from secateur.pipeline.tasks.task import TASKS


def test_a_name_makes_the_task() -> None:
    assert TaskSpec().made() == Classify()
    for name in TASKS.own():
        assert TASKS.name_of(TASKS.find(name)) == name


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "regres"}, r"task: there is no task 'regres', but .*did you mean 'regress'"),
        ({"name": "regress", "loss": "a.b:c"}, "task has no option 'loss'; its options: none"),
    ],
)
def test_what_is_wrong_is_said(given: dict[str, str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        TaskSpec(**given)
