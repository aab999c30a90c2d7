"""What all tasks share: defaults of an own task, and models that answer with scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from secateur.core.errors import ModelError
from secateur.pipeline.tasks.metric import Meter
from secateur.pipeline.tasks.regress import Regress
from secateur.pipeline.tasks.task import TASKS, Task, answering, name_of, tensors_of


@dataclass(frozen=True)
class Own(Task):
    """A task that only says what it must."""

    labels = "numbers"

    def losses(self, outputs: Any, labels: Tensor) -> Tensor:
        return labels

    def meter(self, classes: Sequence[str]) -> Meter:
        return Regress().meter(classes)


OUTPUTS = {
    "maps": torch.arange(16.0).reshape(2, 2, 2, 2),
    "sizes": torch.tensor([[1.0], [3.0]]),
    "ids": torch.arange(2),
}


def test_what_makes_numbers_of_names_of_a_models_outputs() -> None:
    found = {name: TASKS.find(name).activation for name in ("classify", "multilabel", "regress", "embed", "segment")}
    assert found.pop("embed") == found.pop("segment") == Own.activation == "none"
    assert found == {"classify": "softmax", "multilabel": "sigmoid", "regress": "identity"}


def test_scores_are_the_first_tensor_averaged_over_places() -> None:
    assert Own().scores(OUTPUTS).tolist() == [[1.5, 5.5], [9.5, 13.5]]
    assert Own().scores(OUTPUTS["sizes"]).tolist() == [[1.0], [3.0]]


def test_the_divergence_is_the_relative_error_of_every_tensor() -> None:
    moved = {**OUTPUTS, "sizes": OUTPUTS["sizes"] + torch.tensor([[0.0], [2.0]])}
    assert Own().divergence(OUTPUTS, OUTPUTS).tolist() == [0, 0]
    assert Own().divergence(moved, OUTPUTS).tolist() == [0, 2]  # 4, of a variance of 2


def test_drawn_gradients_are_normal() -> None:
    x = torch.zeros(2000, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(Own().drawn_loss({"a": x}, np.random.default_rng(0)), x)
    torch.testing.assert_close(gradient.T @ gradient / 2000, torch.eye(2), atol=0.1, rtol=0)


def test_answers_without_tensors_are_refused() -> None:
    with pytest.raises(ModelError, match="a list without floating-point tensors"):
        tensors_of([torch.arange(3), "text"])


def test_a_model_answers_with_scores_while_asked_to() -> None:
    model, x = nn.Identity(), torch.ones(1, 3, 2, 2)
    with answering(Own(), model):
        assert model(x).shape == (1, 3)
    assert model(x).shape == x.shape


def test_a_task_of_another_package_has_its_class_as_its_name() -> None:
    assert name_of(Own()) == "Own"
    assert name_of(Regress()) == "regress"
    assert set(TASKS.own()) <= set(TASKS.names())
