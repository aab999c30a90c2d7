"""The task of classifiers: its loss, its divergence, the labels that it draws, and top-1."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from secateur.core.errors import DataError, ModelError
from secateur.pipeline.tasks.classify import Classify, Top1

LOGITS = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [5.0, 4.0, 6.0]])


def test_the_loss_is_the_cross_entropy_of_classes_and_of_distributions() -> None:
    labels = torch.tensor([0, 2, 1])
    expected = -LOGITS.softmax(1).log()[torch.arange(3), labels]
    torch.testing.assert_close(Classify().losses(LOGITS, labels), expected)
    torch.testing.assert_close(Classify().losses(LOGITS, F.one_hot(labels, 3).float()), expected)


def test_the_divergence_is_zero_of_itself_and_softer_when_hotter() -> None:
    other = LOGITS.flip(0)
    p, q = (logits.softmax(1) for logits in (other, LOGITS))
    torch.testing.assert_close(Classify().divergence(LOGITS, other), (p * (p / q).log()).sum(1))
    assert Classify().divergence(LOGITS, LOGITS).abs().max() < 1e-6
    assert (Classify().divergence(LOGITS, other, 4.0) <= Classify().divergence(LOGITS, other)).all()


def test_drawn_classes_have_the_predicted_frequencies() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0]).expand(4000, 3).clone().requires_grad_()
    (gradient,) = torch.autograd.grad(Classify().drawn_loss(logits, np.random.default_rng(0)), logits)
    torch.testing.assert_close(gradient.mean(0), torch.zeros(3), atol=0.02, rtol=0)  # mean score is zero
    p = logits[0].detach().softmax(0)
    torch.testing.assert_close(gradient.T @ gradient / 4000, p.diag() - p.outer(p), atol=0.02, rtol=0)


def test_top1_counts_over_batches_and_among_classes() -> None:
    meter, among = Top1(), Top1([0, 1])
    for part in (slice(0, 2), slice(2, 3)):
        for one in (meter, among):
            one.add(LOGITS[part], torch.tensor([0, 1, 0])[part])
    assert (meter.right, meter.count, among.right) == (2, 3, 3)
    (found,) = meter.metrics()
    assert found.value == pytest.approx(200 / 3)
    with pytest.raises(DataError, match="labels go from 3 to 3, but the model has 3 logits"):
        meter.add(LOGITS[:1], torch.tensor([3]))
    with pytest.raises(DataError, match="no images"):
        Top1().metrics()


def test_answers_of_another_shape_are_refused() -> None:
    Classify().check(LOGITS, ["a", "b", "c"])
    for wrong in (LOGITS[:, :2], LOGITS[..., None], {"logits": LOGITS}):
        with pytest.raises(ModelError, match=r"classifying into 3 classes needs \[batch, 3\]"):
            Classify().check(wrong, ["a", "b", "c"])
