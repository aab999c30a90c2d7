"""Losses of masks: the divergence of the masked model, batch after batch, and which of them look at labels."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.core.errors import DataError
from secateur.pipeline.plan.mask_loss import mask_loss
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.masking import masked
from secateur.pipeline.structure.plan import plan_from_kept

Batches = list[tuple[Tensor, Tensor]]
HIDDEN = "blocks.0.mlp.hidden"


def test_the_divergence_of_zeros_and_ones_is_that_of_the_masked_model(
    vit: nn.Module, vit_groups: Groups, batches: Batches
) -> None:
    loss_of = mask_loss(vit, vit_groups, batches, batch_size=12)
    assert loss_of({}).item() == pytest.approx(0, abs=1e-6)
    keep = torch.arange(192) % 3 > 0
    plan = plan_from_kept(vit_groups, {HIDDEN: keep.nonzero().flatten().tolist()})
    x = torch.cat([images for images, _ in batches])
    with torch.no_grad():
        dense, pruned = vit(x).softmax(1), masked(vit, vit_groups, plan)(x).softmax(1)
    expected = (dense * (dense / pruned).log()).sum(1).mean().item()
    assert loss_of({HIDDEN: keep.float()}).item() == pytest.approx(expected, rel=1e-4)


def test_only_the_cross_entropy_looks_at_labels(vit: nn.Module, vit_groups: Groups, batches: Batches) -> None:
    factors = {HIDDEN: torch.linspace(0, 1, 192)}
    other = [(images, (labels + 1) % 5) for images, labels in batches]
    blind, seeing = (
        [mask_loss(vit, vit_groups, data, loss, 12)(factors).item() for data in (batches, other)]
        for loss in ("divergence", "cross_entropy")
    )
    assert blind[0] == blind[1]
    assert abs(seeing[0] - seeing[1]) > 1e-3
    x, y = (torch.cat(part) for part in zip(*batches, strict=True))
    with torch.no_grad():
        expected = F.cross_entropy(vit(x), y).item()
    assert mask_loss(vit, vit_groups, batches, "cross_entropy", 12)({}).item() == pytest.approx(expected, rel=1e-5)


def test_batches_go_round_and_gradients_reach_the_factors(vit: nn.Module, vit_groups: Groups, batches: Batches) -> None:
    loss_of = mask_loss(vit, vit_groups, batches, batch_size=5)
    factor = torch.full((192,), 0.5, requires_grad=True)
    seen = [loss_of({HIDDEN: factor}) for _ in range(7)]  # 3 batches to a pass
    assert len({round(value.item(), 7) for value in seen}) > 3  # each pass is shuffled anew
    seen[0].backward()
    assert factor.grad is not None and factor.grad.abs().sum() > 0
    again = mask_loss(vit, vit_groups, batches, batch_size=5)
    assert [again({HIDDEN: factor.detach()}).item() for _ in range(7)] == [value.item() for value in seen]
    with pytest.raises(DataError, match="no images to measure masks on"):
        mask_loss(vit, vit_groups, [])({})
