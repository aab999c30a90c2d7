"""Factors on the values of units: what they multiply, sample by sample, and what zeros are worth."""

from __future__ import annotations

import timm
import torch
from torch import Tensor, nn

from secateur.pipeline.statistics.mask_hooks import multiplied
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.masking import masked
from secateur.pipeline.structure.plan import plan_from_kept

Batches = list[tuple[Tensor, Tensor]]


def test_zeros_are_what_surgery_takes_away(vit: nn.Module, vit_groups: Groups, batches: Batches) -> None:
    """For every kind: the model with factors 0 and 1 is the masked model that surgery is proven against."""
    x = batches[0][0]
    for name in (f"blocks.1.{part}" for part in ("attn.heads", "attn.v", "attn.qk", "mlp.hidden")):
        group = vit_groups.named(name)
        keep = torch.arange(group.units) >= group.units // group.blocks // 2
        plan = plan_from_kept(vit_groups, {name: keep.nonzero().flatten().tolist()})
        with torch.no_grad():
            expected = masked(vit, vit_groups, plan)(x)
            with multiplied(vit, vit_groups, {name: keep.float()}):
                torch.testing.assert_close(vit(x), expected)
            assert not torch.allclose(vit(x), expected, rtol=1e-3)


def test_each_sample_has_its_own_factors_in_windows_too() -> None:
    torch.manual_seed(0)
    settings = {"img_size": 16, "patch_size": 2, "window_size": 4, "embed_dim": 16, "depths": (2,), "num_heads": (2,)}
    model = timm.create_model("swin_tiny_patch4_window7_224", num_classes=5, **settings).eval()
    groups, x = find_groups(model, torch.zeros(1, 3, 16, 16)), torch.randn(3, 3, 16, 16)
    factors = {group.name: torch.rand(3, group.units) for group in groups}
    with torch.no_grad():
        with multiplied(model, groups, factors):
            together = model(x)
        for number in range(3):
            with multiplied(model, groups, {name: value[number] for name, value in factors.items()}):
                torch.testing.assert_close(together[number], model(x[number : number + 1])[0])


def test_channels_of_convolutions_are_multiplied_along_their_dimension() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.Flatten(), nn.Linear(5 * 4 * 4, 2)
    ).eval()
    groups, x = find_groups(model, torch.zeros(1, 3, 8, 8)), torch.randn(2, 3, 8, 8)
    name = next(group.name for group in groups if group.units == 4)
    factor = torch.tensor([[1.0, 2.0, 0.0, 0.5], [3.0, 1.0, 1.0, 0.0]])
    with torch.no_grad(), multiplied(model, groups, {name: factor}):
        found = model(x)
    with torch.no_grad():
        expected = model[4](model[3](model[2](model[1](model[0](x)) * factor[:, :, None, None])))
    torch.testing.assert_close(found, expected)


def test_gradients_reach_the_factors_and_hooks_go(vit: nn.Module, vit_groups: Groups, batches: Batches) -> None:
    name = "blocks.0.mlp.hidden"
    factor = torch.ones(192, requires_grad=True)
    with multiplied(vit, vit_groups, {name: factor}):
        vit(batches[0][0]).square().sum().backward()
    assert factor.grad is not None and bool((factor.grad != 0).all())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in vit.modules())
