"""Integrated gradients against a slow path integral, image by image."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from secateur.core.errors import PlanError
from secateur.pipeline.scores.score import score
from secateur.pipeline.structure.groups import Groups


def test_it_is_the_change_times_the_mean_gradient(
    vit: nn.Module, vit_groups: Groups, batches: list[tuple[Tensor, Tensor]]
) -> None:
    name, steps, baseline = "blocks.1.mlp.hidden", 4, 0.3
    found = score(
        vit, vit_groups, batches, "integrated_gradients", steps=steps, baseline=baseline, aggregate="signed"
    ).values[name]
    seen: list[Tensor] = []
    handle = vit.get_submodule("blocks.1.mlp.fc2").register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    total = torch.zeros(192)
    for image, label in ((i, y) for x, ys in batches for i, y in zip(x, ys, strict=True)):
        start = torch.full_like(image, baseline)
        vit(image[None]), vit(start[None])
        change = (seen[-2] - seen[-1]).detach()
        mean = torch.zeros_like(change)
        for k in range(steps):
            logit = vit((start + (k + 0.5) / steps * (image - start))[None])[0, label]
            mean += torch.autograd.grad(logit, seen[-1])[0] / steps
        total += (change * mean).sum((0, 1)) / 12
    handle.remove()
    torch.testing.assert_close(found, total, rtol=1e-3, atol=1e-6)


def test_one_step_at_least(vit: nn.Module, vit_groups: Groups, batches: list[tuple[Tensor, Tensor]]) -> None:
    with pytest.raises(PlanError, match="steps is 0"):
        score(vit, vit_groups, batches, "integrated_gradients", steps=0)
