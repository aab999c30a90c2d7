"""Vectors: neighbours counted by hand, and a loss that pulls classes together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from secateur.core.errors import DataError, ModelError
from secateur.pipeline.tasks.embed import Embed

ANGLES = torch.tensor([0.0, 0.1, 0.25, 2.0, 2.1, 2.3])


def vectors(angles: Tensor) -> Tensor:
    return torch.stack([angles.cos(), angles.sin()], 1) * torch.rand(len(angles), 1).add(0.5)


def test_the_nearest_other_image_decides() -> None:
    meter = Embed().meter(())
    meter.add(vectors(ANGLES)[:4], torch.tensor([0, 0, 1, 1]))
    meter.add(vectors(ANGLES)[4:], torch.tensor([1, 0]))
    retrieval, vote = meter.metrics()
    assert retrieval.value == pytest.approx(100 * 4 / 6)  # the third and the last one have others nearby
    assert (retrieval.name, vote.name) == ("retrieval@1", "5-NN accuracy")


def test_the_vote_is_that_of_scikit_learn() -> None:
    draws = np.random.default_rng(0)
    classes = draws.integers(0, 2, 40)
    points = draws.normal(size=(40, 3)) + 0.8 * classes[:, None]
    meter = Embed().meter(())
    meter.add(torch.from_numpy(points), torch.from_numpy(classes))
    right = 0
    for i in range(40):  # two classes and five votes leave no tie
        rest = np.arange(40) != i
        right += int(
            KNeighborsClassifier(5, metric="cosine").fit(points[rest], classes[rest]).predict(points[[i]])[0]
            == classes[i]
        )
    assert meter.metrics()[1].value == pytest.approx(100 * right / 40)


def test_one_image_has_no_neighbours() -> None:
    meter = Embed().meter(())
    meter.add(torch.ones(1, 2), torch.zeros(1, dtype=torch.long))
    with pytest.raises(DataError, match="no neighbours"):
        meter.metrics()


def test_the_loss_falls_when_classes_come_together() -> None:
    labels = torch.tensor([4, 4, 7, 7])
    apart, mixed = vectors(torch.tensor([0.0, 0.1, 2.0, 2.1])), vectors(torch.tensor([0.0, 2.0, 0.1, 2.1]))
    assert Embed().losses(apart, labels).mean() < Embed().losses(mixed, labels).mean()
    shown = torch.nn.functional.one_hot(labels, 9) * 0.7
    torch.testing.assert_close(Embed().losses(mixed, shown), Embed().losses(mixed, labels))


def test_only_directions_count() -> None:
    one = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    torch.testing.assert_close(Embed().divergence(3 * one, one), torch.zeros(2), atol=1e-6, rtol=0)
    along = one.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(Embed().drawn_loss(along, np.random.default_rng(0)), along)
    torch.testing.assert_close((gradient * one).sum(1), torch.zeros(2), atol=1e-6, rtol=0)


def test_an_embedding_is_a_row_of_any_length() -> None:
    Embed().check(torch.zeros(1, 7), ("a",))
    with pytest.raises(ModelError, match=r"an embedding needs \[batch, any\]"):
        Embed().check(torch.zeros(1, 7, 2, 2), ("a",))
