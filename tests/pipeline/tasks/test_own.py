"""Functions of the user's own: what they may return."""

from __future__ import annotations

import pytest
import torch

from secateur.core.errors import RecipeError
from secateur.pipeline.tasks.own import own_loss, own_scores
from tests.pipeline.tasks.small_tasks import NETS


def test_a_mean_is_the_loss_of_each_image() -> None:
    outputs, labels = torch.ones(3, 2), torch.zeros(3, 2)
    assert own_loss(f"{NETS}:mean_error", outputs, labels).tolist() == [1, 1, 1]
    with pytest.raises(RecipeError, match=r"task\.loss: .*:worst_error returns a float for a batch of 3"):
        own_loss(f"{NETS}:worst_error", outputs, labels)


def test_scores_are_rows_of_each_image() -> None:
    assert own_scores(None, torch.ones(2, 3), lambda outputs: outputs + 1).tolist() == [[2, 2, 2]] * 2
    with pytest.raises(RecipeError, match=r"task\.output: .*:nothing returns a NoneType, but must return scores"):
        own_scores(f"{NETS}:nothing", torch.ones(2, 3), lambda outputs: outputs)
