"""Segmentation: mIoU by its definition, losses that leave out pixels of no class, and maps of another size."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from secateur.core.errors import DataError, ModelError
from secateur.pipeline.tasks.segment import Segment

needs_torchmetrics = pytest.mark.skipif(find_spec("torchmetrics") is None, reason="torchmetrics is not installed")


def example() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of four classes, of which the last never occurs, and masks with pixels of none."""
    torch.manual_seed(0)
    logits, masks = torch.randn(3, 4, 6, 5), torch.randint(0, 3, (3, 6, 5))
    logits[:, 3] = -9
    masks[:, 0] = 255
    return logits, masks


@needs_torchmetrics
def test_miou_is_the_mean_over_the_classes_that_occur() -> None:
    logits, masks = example()
    meter = Segment().meter(tuple("abcd"))
    with pytest.raises(DataError, match="no images"):
        meter.metrics()
    meter.add(logits[:1], masks[:1])
    meter.add(logits[1:], masks[1:])
    miou, right = meter.metrics()
    found, there = logits.argmax(1), masks != 255
    shares = [
        float(((found == k) & (masks == k)).sum() / (((found == k) | (masks == k)) & there).sum()) for k in range(3)
    ]
    assert miou.value == pytest.approx(100 * sum(shares) / 3)
    assert right.value == pytest.approx(100 * float((found == masks)[there].double().mean()))


def test_the_loss_is_the_mean_over_pixels_with_a_class() -> None:
    logits, masks = example()
    every = -logits.log_softmax(1).gather(1, masks.clamp_max(3)[:, None])[:, 0]
    expected = torch.stack([every[i][masks[i] != 255].mean() for i in range(3)])
    torch.testing.assert_close(Segment().losses(logits, masks), expected)
    assert Segment().losses(logits, torch.full_like(masks, 255)).tolist() == [0, 0, 0]


def test_coarse_maps_are_brought_to_the_masks() -> None:
    logits, _ = example()
    masks = torch.zeros(3, 12, 10, dtype=torch.long)
    fine = F.interpolate(logits, size=(12, 10), mode="bilinear")
    torch.testing.assert_close(Segment().losses(logits, masks), Segment().losses(fine, masks))


def test_the_divergence_is_the_mean_over_pixels() -> None:
    logits, _ = example()
    p, q = logits.softmax(1), logits.flip(0).softmax(1)
    torch.testing.assert_close(Segment().divergence(logits.flip(0), logits), (p * (p / q).log()).sum(1).mean((1, 2)))


def test_drawn_pixels_have_the_predicted_frequencies() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0]).reshape(1, 3, 1, 1).expand(40, 3, 10, 10).clone().requires_grad_()
    (gradient,) = torch.autograd.grad(Segment().drawn_loss(logits, np.random.default_rng(0)), logits)
    rows = 100 * gradient.movedim(1, 3).reshape(-1, 3)  # the mean over 100 pixels
    p = logits[0, :, 0, 0].detach().softmax(0)
    torch.testing.assert_close(rows.T @ rows / len(rows), p.diag() - p.outer(p), atol=0.03, rtol=0)


def test_answers_and_classes_are_checked() -> None:
    logits, _ = example()
    Segment().check(logits, tuple("abcd"))
    with pytest.raises(ModelError, match=r"segmentation into 3 classes needs \[batch, 3, any, any\]"):
        Segment().check(logits, tuple("abc"))
    with pytest.raises(DataError, match="one class"):
        Segment().check(logits, ("a",))
