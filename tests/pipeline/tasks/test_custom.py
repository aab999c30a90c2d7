"""The user's own loss and metric."""

from __future__ import annotations

import pytest
import torch

from secateur.core.errors import DataError, RecipeError
from secateur.pipeline.tasks.custom import Custom
from secateur.pipeline.tasks.spec import TaskSpec
from tests.pipeline.tasks.small_tasks import NETS

TASK = Custom(f"{NETS}:mean_error", f"{NETS}:worst_error", "numbers", higher_is_better=False)


def test_the_metric_sees_all_images_together() -> None:
    meter = TASK.meter(())
    with pytest.raises(DataError, match="no images"):
        meter.metrics()
    meter.add(torch.zeros(3, 1), torch.ones(3, 1))
    meter.add(torch.zeros(1, 1), torch.full((1, 1), 4.0))
    (found,) = meter.metrics()
    assert (found.name, found.value, found.higher_is_better, found.unit) == ("worst_error", 4.0, False, "")


def test_answers_in_dictionaries_are_put_together() -> None:
    task = Custom(TASK.loss, "tests.pipeline.tasks.test_custom:total")
    meter = task.meter(())
    for count in (2, 3):
        meter.add({"a": torch.ones(count, 1), "b": (torch.ones(count),)}, torch.zeros(count))
    assert meter.metrics()[0].value == 10


def total(outputs: dict[str, object], labels: torch.Tensor) -> float:
    """The sum of everything."""
    first, (second,) = outputs["a"], outputs["b"]  # type: ignore[misc]
    return float(first.sum() + second.sum())  # type: ignore[attr-defined]


def test_a_metric_that_is_no_number_is_refused() -> None:
    meter = Custom(TASK.loss, f"{NETS}:nothing").meter(())
    meter.add(torch.zeros(1, 1), torch.ones(1, 1))
    with pytest.raises(RecipeError, match=r"task\.metric: .*:nothing returns a NoneType, but must return one number"):
        meter.metrics()


def test_functions_are_asked_for_before_anything_is_done() -> None:
    TASK.check(torch.zeros(1, 2), ())
    with pytest.raises(RecipeError, match="has no absent"):
        Custom(f"{NETS}:absent", TASK.metric).check(torch.zeros(1, 2), ())
    with pytest.raises(RecipeError, match="task needs the option 'metric'"):
        TaskSpec("custom", loss=TASK.loss)
    with pytest.raises(RecipeError, match=r"task\.labels is 'words', but must be one of classes, numbers"):
        TaskSpec("custom", loss=TASK.loss, metric=TASK.metric, labels="words")
