"""Several labels for an image: metrics against scikit-learn, the divergence and draws by their definitions."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score

from secateur.core.errors import DataError, ModelError
from secateur.pipeline.tasks.multilabel import Multilabel

needs_torchmetrics = pytest.mark.skipif(find_spec("torchmetrics") is None, reason="torchmetrics is not installed")


@needs_torchmetrics
def test_metrics_are_those_of_scikit_learn_over_the_labels_that_occur() -> None:
    torch.manual_seed(0)
    logits, wanted = torch.randn(20, 4), (torch.rand(20, 4) < 0.4).float()
    wanted[:, 2] = 0
    meter = Multilabel().meter(tuple("abcd"))
    meter.add(logits[:13], wanted[:13])
    meter.add(logits[13:], wanted[13:])
    precision, f1 = meter.metrics()
    seen = [0, 1, 3]
    assert precision.value == pytest.approx(100 * average_precision_score(wanted[:, seen], logits[:, seen]), rel=1e-5)
    assert f1.value == pytest.approx(100 * f1_score(wanted[:, seen], logits[:, seen] > 0, average="macro"), rel=1e-5)


@needs_torchmetrics
def test_one_label_or_none_of_those_that_occur() -> None:
    logits, wanted = torch.tensor([[2.0, 1.0], [-1.0, 0.0], [0.5, 0.0]]), torch.tensor([[1.0, 0], [1, 0], [0, 0]])
    meter = Multilabel().meter(("a", "b"))
    meter.add(logits, wanted)
    precision, f1 = meter.metrics()
    assert precision.value == pytest.approx(100 * average_precision_score(wanted[:, 0], logits[:, 0]))
    assert f1.value == pytest.approx(100 * f1_score(wanted[:, 0], logits[:, 0] > 0))
    empty = Multilabel().meter(("a",))
    empty.add(logits[:, :1], torch.zeros(3, 1))
    with pytest.raises(DataError, match="no held-out image has any label"):
        empty.metrics()


def test_the_divergence_is_that_of_independent_labels() -> None:
    one, other = torch.tensor([[0.5, -2.0]]), torch.tensor([[1.5, 0.3]])
    p, q = other.sigmoid(), one.sigmoid()
    expected = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).sum(1)
    torch.testing.assert_close(Multilabel().divergence(one, other), expected)
    assert float(Multilabel().divergence(one, one)) == 0


def test_drawn_labels_have_the_variance_of_the_prediction() -> None:
    logits = torch.tensor([0.0, 2.0]).expand(4000, 2).clone().requires_grad_()
    (gradient,) = torch.autograd.grad(Multilabel().drawn_loss(logits, np.random.default_rng(0)), logits)
    p = logits[0].detach().sigmoid()
    torch.testing.assert_close(gradient.T @ gradient / 4000, (p * (1 - p)).diag(), atol=0.02, rtol=0)


def test_the_loss_and_the_shape() -> None:
    loss = Multilabel().losses(torch.zeros(1, 3), torch.tensor([[0.0, 1.0, 1.0]]))
    torch.testing.assert_close(loss, torch.full((1,), 3 * float(np.log(2))))
    with pytest.raises(ModelError, match="telling 2 labels"):
        Multilabel().check(torch.zeros(1, 3), ("a", "b"))
