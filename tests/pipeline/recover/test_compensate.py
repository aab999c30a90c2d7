"""Compensation of whole models: what is repaired gets closer, nothing gets worse, and every way is reported."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from timm.layers import Conv2dSame
from timm.layers.std_conv import ScaledStdConv2dSame, StdConv2d
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from secateur.core.errors import DataError, RecipeError
from secateur.pipeline.recover.compensate import compensate, gather_statistics, repair
from secateur.pipeline.recover.spec import Compensation
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.surgery import prune
from tests.signatures import towers, towers_inputs

Batches = list[tuple[Tensor, Tensor]]
HALF_HEADS = [head * 16 + dim for head in range(3) for dim in range(8)]


def distance(model: nn.Module, other: nn.Module, batches: Batches, block: str) -> float:
    """The mean squared difference of two models at the output of one module."""

    def outputs(model: nn.Module) -> Tensor:
        found: list[Tensor] = []
        handle = model.get_submodule(block).register_forward_hook(lambda _m, _a, out: found.append(out.detach()))
        with torch.no_grad():
            for x, _ in batches:
                model(x)
        handle.remove()
        return torch.cat(found)

    return (outputs(model) - outputs(other)).square().mean().item()


@pytest.fixture(scope="module")
def many() -> Batches:
    """Images enough that a half of them speaks for the other half."""
    generator = torch.Generator().manual_seed(5)
    return [(torch.randn(16, 3, 16, 16, generator=generator), torch.zeros(16, dtype=torch.long)) for _ in range(4)]


def test_duplicated_units_are_replaced_without_any_loss(vit: nn.Module, vit_groups: Groups, many: Batches) -> None:
    mlp = vit.get_submodule("blocks.0.mlp")
    with torch.no_grad():
        mlp.fc1.weight[96:] = mlp.fc1.weight[:96]
        mlp.fc1.bias[96:] = mlp.fc1.bias[:96]
    plan = plan_from_kept(vit_groups, {"blocks.0.mlp.hidden": range(96)})
    small = prune(vit, plan, vit_groups)
    repaired = compensate(small, vit, plan, many, Compensation(1e-9), vit_groups)
    x = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        assert (small(x) - vit(x)).abs().max() > 0.05
        torch.testing.assert_close(repaired(x), vit(x), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("kind", ["v", "qk"])
def test_heads_of_low_rank_lose_nothing_though_every_dimension_matters(
    kind: str, vit: nn.Module, vit_groups: Groups, many: Batches
) -> None:
    """Half as many mixtures carry everything when the projection has half the rank, turned arbitrarily."""
    qkv = vit.get_submodule("blocks.1.attn.qkv")
    start = 96 if kind == "v" else 0
    with torch.no_grad():
        for head in range(3):
            turn, _ = torch.linalg.qr(torch.randn(16, 16))
            place = slice(start + 16 * head, start + 16 * head + 16)
            qkv.weight[place] = turn[:, :8] @ qkv.weight[place][:8]
            qkv.bias[place] = turn[:, :8] @ qkv.bias[place][:8]
    plan = plan_from_kept(vit_groups, {f"blocks.1.attn.{kind}": HALF_HEADS})
    small = prune(vit, plan, vit_groups)
    repaired, repairs = repair(small, vit, plan, many, Compensation(front_to_back=False), vit_groups)
    before, after = (distance(m, vit, many, "blocks.1.attn") for m in (small, repaired))
    assert after < 1e-4 * before
    assert [found.way for found in repairs] == ["mixtures" if kind == "v" else "products"]


@pytest.mark.parametrize(
    "kept",
    [
        {"blocks.0.mlp.hidden": range(0, 192, 2)},
        {"blocks.1.attn.heads": [0, 2]},
        {"blocks.1.attn.v": HALF_HEADS},
        {"blocks.1.attn.qk": HALF_HEADS},
        {"blocks.1.attn.qk": HALF_HEADS, "blocks.1.attn.v": HALF_HEADS, "blocks.1.attn.heads": [0, 2]},
        {"blocks.0.attn.v": [*range(4), *range(16, 28), *range(32, 48)]},
        {"blocks.0.attn.heads": []},
        {"blocks.1.mlp.hidden": []},
    ],
)
def test_the_layers_output_gets_closer(
    kept: dict[str, range], vit: nn.Module, vit_groups: Groups, many: Batches
) -> None:
    plan = plan_from_kept(vit_groups, kept)
    small = prune(vit, plan, vit_groups)
    before = [parameter.clone() for parameter in small.parameters()]
    repaired, repairs = repair(small, vit, plan, many, Compensation(front_to_back=False), vit_groups)
    block = next(iter(kept)).rsplit(".", 1)[0]
    assert distance(repaired, vit, many, block) < 0.9 * distance(small, vit, many, block)
    assert all(found.error_after < found.error_before for found in repairs)
    assert all(torch.equal(a, b) for a, b in zip(small.parameters(), before, strict=True))


def test_what_does_not_hold_on_other_images_is_left_as_surgery_left_it(vit: nn.Module, vit_groups: Groups) -> None:
    """Two halves that contradict each other: whatever one half teaches is wrong for the other one."""
    plan = plan_from_kept(vit_groups, {"blocks.0.mlp.hidden": [*range(191)]})
    fc1 = vit.get_submodule("blocks.0.mlp.fc1")
    with torch.no_grad():
        fc1.weight[191], fc1.bias[191] = 0, 1e-3  # next to nothing to win, and much noise to fit
        fc1.weight[191, 0] = 1e-6
    images = torch.randn(2, 3, 16, 16)
    images[1] *= 30
    small = prune(vit, plan, vit_groups)
    repaired, (found,) = repair(
        small,
        vit,
        plan,
        [(images, torch.zeros(2, dtype=torch.long))],
        Compensation(0.0, False),
        vit_groups,
    )
    if found.way == "none":
        assert found.error_after == found.error_before
        assert all(torch.equal(a, b) for a, b in zip(small.parameters(), repaired.parameters(), strict=True))
    else:
        assert found.error_after < found.error_before


def test_fewer_samples_than_units_still_give_a_finite_repair(vit: nn.Module, vit_groups: Groups) -> None:
    kept = {"blocks.0.mlp.hidden": range(150), "blocks.1.attn.qk": HALF_HEADS, "blocks.1.attn.v": HALF_HEADS}
    plan = plan_from_kept(vit_groups, kept)
    two_images = [(torch.randn(2, 3, 16, 16), torch.zeros(2, dtype=torch.long))]
    for ridge in (0.0, 1e-3, None):
        repaired = compensate(prune(vit, plan, vit_groups), vit, plan, two_images, Compensation(ridge), vit_groups)
        assert all(torch.isfinite(p).all() for p in repaired.parameters())


def test_convolutions_are_refitted_with_their_borders_and_normalised_anew() -> None:
    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=4, channels=(16, 16, 16, 16)).eval()
    images = [(torch.randn(8, 3, 32, 32), torch.zeros(8, dtype=torch.long)) for _ in range(2)]
    groups = find_groups(model, images[0][0][:1])
    name = "layer1.0.conv1.channels"
    with torch.no_grad():
        conv, norm = model.get_submodule("layer1.0.conv1"), model.get_submodule("layer1.0.bn1")
        for tensor in (conv.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var):
            tensor[8:] = tensor[:8]
        model.get_submodule("layer1.0.bn2").weight.fill_(1.0)
    update_bn(images, model)
    plan = plan_from_kept(groups, {name: range(8)})
    small = prune(model, plan, groups)
    repaired, repairs = repair(small, model, plan, images, groups=groups)
    assert (repairs[0].layer, repairs[0].way) == ("layer1.0.conv2", "refit")
    before, after = (distance(m, model, images, "layer1.0") for m in (small, repaired))
    assert after < 1e-2 * before
    assert not repaired.training


PADDED = {
    "tensorflow": lambda: Conv2dSame(16, 12, 3, stride=2),
    "standardised": lambda: StdConv2d(16, 12, 3, stride=2, padding=1),
    "scaled": lambda: ScaledStdConv2dSame(16, 12, 3, stride=2),
    "reflected": lambda: nn.Conv2d(16, 12, 3, padding=2, dilation=2, padding_mode="reflect"),
    "same": lambda: nn.Conv2d(16, 12, 4, padding="same"),
}


@pytest.mark.parametrize("kind", PADDED)
@pytest.mark.parametrize("size", [11, 12])
@pytest.mark.parametrize("front_to_back", [False, True])
def test_convolutions_that_pad_or_scale_by_themselves_are_repaired_for_what_they_compute(
    kind: str, size: int, front_to_back: bool
) -> None:
    """Half of what the layer reads repeats the other half, so that nothing need be lost: TensorFlow's padding depends
    on the image's size, and a standardised weight is not the parameter."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 16, 3), nn.ReLU(inplace=True), PADDED[kind](), nn.ReLU(inplace=True)]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 4)).eval()
    with torch.no_grad():
        for tensor in model[0].parameters():
            tensor[8:] = tensor[:8]
    images = [(torch.randn(8, 3, size, size), torch.zeros(8, dtype=torch.long)) for _ in range(3)]
    groups = find_groups(model, images[0][0][:1])
    plan = plan_from_kept(groups, {next(group.name for group in groups if group.units == 16): range(8)})
    small = prune(model, plan, groups)
    repaired, repairs = repair(small, model, plan, images, Compensation(1e-9, front_to_back), groups)
    assert {found.layer for found in repairs} == {"2"}
    assert repairs[0].way == "refit"
    before, after = (distance(m, model, images, "2") for m in (small, repaired))
    assert after < 1e-4 * before


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_model_of_half_precision_stays_one_and_gets_closer(
    dtype: torch.dtype, vit: nn.Module, vit_groups: Groups, many: Batches
) -> None:
    kept = {"blocks.0.mlp.hidden": range(0, 192, 2), "blocks.1.attn.v": HALF_HEADS, "blocks.1.attn.qk": HALF_HEADS}
    plan, half = plan_from_kept(vit_groups, kept), copy.deepcopy(vit).to(dtype)
    batches = [(x.to(dtype), labels) for x, labels in many]
    small = prune(half, plan, vit_groups)
    repaired, repairs = repair(small, half, plan, batches, groups=vit_groups)
    assert {parameter.dtype for parameter in repaired.parameters()} == {dtype}
    assert "stream" in {found.way for found in repairs}
    before, after = (distance(m, half, batches, "head") for m in (small, repaired))
    assert after < 0.8 * before


def test_statistics_serve_many_plans(vit: nn.Module, vit_groups: Groups, many: Batches) -> None:
    shared = gather_statistics(vit, vit_groups, ("mlp_hidden", "qk_dim", "v_dim"), many)
    for kept in ({"blocks.0.mlp.hidden": range(96)}, {"blocks.1.attn.qk": HALF_HEADS, "blocks.1.attn.v": HALF_HEADS}):
        plan = plan_from_kept(vit_groups, kept)
        small = prune(vit, plan, vit_groups)
        one, other = (repair(small, vit, plan, many, groups=vit_groups, statistics=found) for found in (None, shared))
        assert one[1] == other[1]
        for name, value in one[0].state_dict().items():
            assert torch.equal(value, other[0].state_dict()[name]), name


def test_bad_input_is_refused(vit: nn.Module, vit_groups: Groups, batches: Batches) -> None:
    plan = plan_from_kept(vit_groups, {"blocks.0.mlp.hidden": range(150)})
    with pytest.raises(RecipeError, match="ridge is -1"):
        Compensation(ridge=-1)
    with pytest.raises(DataError, match="no images"):
        compensate(prune(vit, plan), vit, plan, [])


def test_a_model_of_several_inputs_is_repaired_without_labels() -> None:
    model, groups = towers(), find_groups(towers(), towers_inputs())
    plan = plan_from_kept(groups, {group.name: range(0, group.units, 2) for group in groups})
    small = prune(model, plan, groups)
    repaired = compensate(small, model, plan, [(towers_inputs(40), None), (towers_inputs(41), None)], groups=groups)
    inputs = towers_inputs(64)
    with torch.no_grad():
        errors = [torch.dist(net(**inputs).text["text"], model(**inputs).text["text"]) for net in (small, repaired)]
    assert errors[1] < 0.7 * errors[0]
