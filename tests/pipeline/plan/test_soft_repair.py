"""Masks that foresee the repair: with whole units, the model is the one that compensation makes."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn

from secateur.pipeline.plan.plan import plan_from_kept
from secateur.pipeline.plan.soft_judge import soft_judge
from secateur.pipeline.plan.soft_repair import SoftRepair, mask_at
from secateur.pipeline.recover.compensate import compensate
from secateur.pipeline.scores.observe import frozen
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups, Site
from secateur.pipeline.structure.proof import masked
from secateur.pipeline.structure.surgery import prune

Batches = list[tuple[Tensor, Tensor]]
HIDDEN, VALUES, PRODUCTS = "blocks.0.mlp.hidden", "blocks.0.attn.v", "blocks.0.attn.qk"


@pytest.fixture(scope="module")
def many() -> Batches:
    generator = torch.Generator().manual_seed(5)
    return [(torch.randn(16, 3, 16, 16, generator=generator), torch.zeros(16, dtype=torch.long)) for _ in range(4)]


def keeping(groups: Groups, name: str, every: int) -> tuple[dict[str, list[int]], Tensor]:
    """Every so many-th unit of a group, and the same as factors."""
    units = groups.named(name).units
    stays = torch.arange(units) % every == 0
    return {name: stays.nonzero().flatten().tolist()}, stays.float()


def outputs(model: nn.Module, x: Tensor) -> Tensor:
    with frozen(model), torch.no_grad():
        out: Tensor = model(x)
    return out


@pytest.mark.parametrize(("name", "every"), [(HIDDEN, 3), (HIDDEN, 96), (VALUES, 2), (PRODUCTS, 2), (PRODUCTS, 4)])
def test_whole_units_leave_the_model_that_is_repaired(
    name: str, every: int, vit: nn.Module, vit_groups: Groups, many: Batches
) -> None:
    kept, factors = keeping(vit_groups, name, every)
    plan = plan_from_kept(vit_groups, kept)
    small = compensate(prune(vit, plan, vit_groups), vit, plan, many, 1e-4, vit_groups, front_to_back=False)
    repair, (x, _) = SoftRepair(vit, vit_groups, many, ridge=1e-4), many[0]
    with repair.under({name: factors}):
        foreseen = outputs(vit, x)
    dense, repaired = outputs(vit, x), outputs(small, x)
    removed = outputs(masked(vit, vit_groups, plan), x)
    scale = (dense - repaired).abs().mean()
    assert (foreseen - repaired).abs().mean() < 0.1 * scale  # the two regularise a little differently
    assert (removed - dense).abs().mean() > 1.2 * scale  # so that without the repair it would be another model


def test_the_prediction_is_that_of_ridge_regression_on_the_survivors() -> None:
    """From the definition: the units that are gone, regressed on those that stay."""
    torch.manual_seed(3)

    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x).relu())

    model = Reads()
    rows = torch.randn(400, 6) @ torch.randn(6, 6) + 1  # units that know of each other
    groups = find_groups(model, rows[:2])
    (name,) = [group.name for group in groups if group.sites]
    gone = torch.tensor([False, True, False, True, True, False])
    seen: list[Tensor] = []
    with SoftRepair(model, groups, [(rows, torch.zeros(400))], ridge=1e-6).under({name: (~gone).float()}):
        handle = model.second.register_forward_pre_hook(lambda _m, args: seen.append(args[0].detach()))
        outputs(model, rows)
        handle.remove()
    values = model.first(rows).relu().detach().double()
    design = torch.cat([values[:, ~gone], torch.ones(400, 1).double()], dim=1)
    predicted = design @ torch.linalg.lstsq(design, values[:, gone]).solution
    expected = values.clone()
    expected[:, gone] = predicted
    torch.testing.assert_close(seen[0].double(), expected, rtol=1e-3, atol=1e-3)


def test_nothing_changes_while_all_stays_and_gradients_reach_the_factors(
    vit: nn.Module, vit_groups: Groups, many: Batches
) -> None:
    repair, (x, _) = SoftRepair(vit, vit_groups, many), many[0]
    names = [group.name for group in vit_groups if group.sites]
    whole = {name: torch.ones(vit_groups.named(name).units) for name in names}
    for factors in ({}, whole):
        with repair.under(factors):
            torch.testing.assert_close(outputs(vit, x), outputs(vit, x))
    with repair.under(whole):
        foreseen = outputs(vit, x)
    torch.testing.assert_close(foreseen, outputs(vit, x), rtol=1e-4, atol=1e-4)
    soft = {name: (0.5 * value).requires_grad_() for name, value in whole.items()}
    with frozen(vit), repair.under(soft):
        vit(x).square().sum().backward()
    for name, value in soft.items():
        assert value.grad is not None and value.grad.abs().sum() > 0, name


def test_a_duplicate_costs_nothing_once_the_repair_is_foreseen(
    vit: nn.Module, vit_groups: Groups, many: Batches
) -> None:
    mlp = vit.get_submodule("blocks.0.mlp")
    with torch.no_grad():
        mlp.fc1.weight[7], mlp.fc1.bias[7] = mlp.fc1.weight[3], mlp.fc1.bias[3]
        mlp.fc2.weight[:, 7] *= 20
    factor = torch.ones(192)
    factor[7] = 0
    blind, seeing = (soft_judge(vit, vit_groups, many, repaired=there)({HIDDEN: factor}) for there in (False, True))
    assert seeing < 0.05 * blind


def test_convolutions_foresee_it_too_and_the_rest_is_multiplied() -> None:
    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=4, channels=(16, 16, 16, 16), zero_init_last=False).eval()
    batches = [(torch.randn(8, 3, 32, 32), torch.zeros(8, dtype=torch.long))]
    groups = find_groups(model, batches[0][0][:1])
    kept, factors = keeping(groups, "layer1.0.conv1.channels", 2)
    repair, x = SoftRepair(model, groups, batches), batches[0][0]
    with repair.under({"layer1.0.conv1.channels": factors}):
        foreseen = outputs(model, x)
    removed = outputs(masked(model, groups, plan_from_kept(groups, kept)), x)
    dense = outputs(model, x)
    assert (foreseen - dense).norm() < (removed - dense).norm()
    swin = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=16, patch_size=2, window_size=4, embed_dim=16, depths=(1,),
        num_heads=(2,), num_classes=3,
    ).eval()  # fmt: skip
    images = torch.randn(4, 3, 16, 16)
    of_swin = find_groups(swin, images[:1])
    (name,) = [group.name for group in of_swin if group.kind == "qk_dim"]
    kept, factors = keeping(of_swin, name, 2)
    with SoftRepair(swin, of_swin, [(images, torch.zeros(4))]).under({name: factors}):
        foreseen = outputs(swin, images)
    torch.testing.assert_close(foreseen, outputs(masked(swin, of_swin, plan_from_kept(of_swin, kept)), images))


def test_factors_of_several_groups_multiply() -> None:
    found = [("a", Site("m", "input", -1, (0, 0, 1, -1))), ("b", Site("m", "input", -1, (1, 0, -1, -1)))]
    a, b = torch.tensor([0.5, 0.25]), torch.tensor([0.1, 0.2])
    mask = mask_at(found, {"a": a, "b": b})
    assert mask is not None
    torch.testing.assert_close(mask, torch.tensor([0.1, 0.05, 0.25, 1.0]))
    assert mask_at(found, {}) is None
