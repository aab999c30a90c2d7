"""Front to back: the regressions on what the pruned model feeds its layers, from the definition, and their worth."""

from __future__ import annotations

from dataclasses import replace

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from secateur.pipeline.recover import front_to_back
from secateur.pipeline.recover.compensate import repair
from secateur.pipeline.recover.front_to_back import refit_branches, refit_convolutions
from secateur.pipeline.recover.narrowed import Narrowed, narrowed_by
from secateur.pipeline.recover.position_weights import position_weights
from secateur.pipeline.recover.spec import Compensation
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups, Site
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.surgery import prune
from tests.conftest import make_vit
from tests.pipeline.recover.reading import inputs

Batches = list[tuple[Tensor, Tensor]]
KEPT = {"blocks.0.mlp.hidden": range(64), "blocks.1.attn.v": [h * 16 + d for h in range(3) for d in range(8)]}
HIDDEN = ("layer1.0.conv1.channels", "layer1.1.conv1.channels")


@pytest.fixture(scope="module")
def many() -> Batches:
    generator = torch.Generator().manual_seed(5)
    return [(torch.randn(n, 3, 16, 16, generator=generator), torch.zeros(n, dtype=torch.long)) for n in (32, 32, 26)]


@pytest.mark.parametrize("scaled", [False, True])
def test_the_refit_is_a_regression_of_the_dense_stream_on_the_pruned_models_inputs(
    scaled: bool, many: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ends of branches, the second after the first has been refitted; the ridge is so weak that it is gone."""
    monkeypatch.setattr(front_to_back, "RIDGES", (1e-9,))
    vit = make_vit(depth=3, init_values=0.5 if scaled else None)
    groups = find_groups(vit, many[0][0][:1])
    small = prune(vit, plan_from_kept(groups, KEPT), groups)
    # the layer, its scale, where the stream is read before the branch and behind it
    refitted = (
        ("blocks.0.mlp.fc2", "blocks.0.ls2", "blocks.0.norm2", "blocks.1.norm1"),
        ("blocks.1.attn.proj", "blocks.1.ls1", "blocks.1.norm1", "blocks.1.norm2"),
    )
    repairs = refit_branches(small, vit, [name for name, *_ in refitted], many)
    ends = {
        "blocks.1.norm1": Site("blocks.0", "output", -1, ()),
        "blocks.1.norm2": Site("blocks.1.norm2", "input", -1, ()),
    }
    counts = position_weights(vit, list(ends.values()), many)
    assert [found.layer for found in repairs] == [name for name, *_ in refitted]
    for name, scale, before, behind in refitted:
        h = torch.cat(inputs(small, many, name)).double()
        target = (torch.cat(inputs(vit, many, behind)) - torch.cat(inputs(small, many, before))).double()
        if scaled:
            target = target / vit.get_submodule(scale).gamma.detach()
        root = counts[ends[behind].key].sqrt().expand(h.shape[:2]).flatten()[:, None]
        design = torch.cat([h.flatten(0, 1), torch.ones(h.shape[0] * h.shape[1], 1)], dim=1)
        solution = torch.linalg.lstsq(root * design, root * target.flatten(0, 1)).solution
        layer = small.get_submodule(name)
        torch.testing.assert_close(layer.weight.detach().double(), solution[:-1].T, rtol=1e-2, atol=1e-3)
        torch.testing.assert_close(layer.bias.detach().double(), solution[-1], rtol=1e-2, atol=1e-3)


def test_it_brings_the_models_output_closer_than_dense_statistics_alone(
    vit: nn.Module, vit_groups: Groups, many: Batches
) -> None:
    plan = plan_from_kept(vit_groups, KEPT)
    small = prune(vit, plan, vit_groups)
    plain, _ = repair(small, vit, plan, many, Compensation(front_to_back=False), vit_groups)
    followed, repairs = repair(small, vit, plan, many, groups=vit_groups)
    errors = [float(sum((model(x) - vit(x)).square().sum() for x, _ in many).detach()) for model in (plain, followed)]
    assert errors[1] < errors[0]
    assert any(found.way == "stream" for found in repairs)
    for found in repairs:
        assert found.error_after < found.error_before if found.way != "none" else found.ridge is None


def test_layers_that_nothing_is_known_of_stay_as_they_are(vit: nn.Module, vit_groups: Groups, many: Batches) -> None:
    small = prune(vit, plan_from_kept(vit_groups, KEPT), vit_groups)
    before = {key: value.clone() for key, value in small.state_dict().items()}
    assert refit_branches(small, vit, ["head"], many) == ()
    assert refit_branches(small, vit, [], many) == ()
    other = timm.create_model("resnet10t", num_classes=2).eval()
    assert refit_branches(other, other, ["layer1.0.conv2"], many) == ()
    assert all(torch.equal(value, before[key]) for key, value in small.state_dict().items())


def test_a_model_that_does_more_than_chain_its_blocks_is_left_alone(
    vit: nn.Module, vit_groups: Groups, many: Batches
) -> None:
    small = prune(vit, plan_from_kept(vit_groups, KEPT), vit_groups)
    blocks = vit.get_submodule("blocks")
    vit.blocks.forward = lambda x: blocks[1](2 * blocks[0](x))  # type: ignore[method-assign]  # another forward on purpose
    assert refit_branches(small, vit, ["blocks.0.mlp.fc2"], many) == ()


def test_a_branch_that_lost_everything_is_left_alone(vit: nn.Module, vit_groups: Groups, many: Batches) -> None:
    plan = plan_from_kept(vit_groups, {"blocks.0.mlp.hidden": [], "blocks.1.mlp.hidden": range(64)})
    _, repairs = repair(prune(vit, plan, vit_groups), vit, plan, many, groups=vit_groups)
    assert [found.way for found in repairs if found.layer == "blocks.1.mlp.fc2"][:1] == ["refit"]


def made_resnet(images: Batches) -> nn.Module:
    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=4, channels=(16, 16, 16, 16), zero_init_last=False).eval()
    update_bn(images, model)
    return model


@pytest.fixture
def resnet(images: Batches) -> nn.Module:
    return made_resnet(images)


@pytest.fixture(scope="module")
def groups(images: Batches) -> Groups:
    return find_groups(made_resnet(images), images[0][0][:1])


@pytest.fixture(scope="module")
def images() -> Batches:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(n, 3, 32, 32, generator=generator), torch.zeros(n, dtype=torch.long)) for n in (24, 24, 13)]


def seen(model: nn.Module, batches: Batches, name: str) -> tuple[Tensor, Tensor]:
    """What a layer reads and what it says, of all images."""
    found: list[tuple[Tensor, Tensor]] = []
    handle = model.get_submodule(name).register_forward_hook(lambda _m, args, out: found.append((args[0], out)))
    with torch.no_grad():
        for x, _ in batches:
            model(x)
    handle.remove()
    inputs, outputs = (torch.cat(parts).double() for parts in zip(*found, strict=True))
    return inputs, outputs


def test_a_convolutions_refit_is_a_regression_on_what_the_pruned_model_feeds_the_layer(
    resnet: nn.Module, groups: Groups, images: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second layer, after the first has been refitted; the ridge is so weak that it is gone."""
    monkeypatch.setattr(front_to_back, "RIDGES", (1e-9,))
    plan = plan_from_kept(groups, {name: range(4) for name in HIDDEN})
    small = prune(resnet, plan, groups)
    narrowed = narrowed_by(resnet, groups, plan)
    backwards = replace(narrowed, layers=dict(reversed(narrowed.layers.items())))
    repairs = refit_convolutions(small, resnet, backwards, images)
    assert [found.layer for found in repairs] == ["layer1.0.conv2", "layer1.1.conv2"]
    z, _ = seen(small, images, "layer1.1.conv2")
    _, target = seen(resnet, images, "layer1.1.conv2")
    rows = F.unfold(z, 3, padding=1).transpose(1, 2).flatten(0, 1)
    rows = torch.cat([rows, torch.ones(len(rows), 1)], dim=1)
    solution = torch.linalg.lstsq(rows, target.flatten(2).transpose(1, 2).flatten(0, 1)).solution[:-1].T
    weight = small.get_submodule("layer1.1.conv2").weight
    torch.testing.assert_close(weight.detach().double().flatten(1), solution, rtol=1e-2, atol=1e-3)


def test_convolutions_bring_the_models_output_closer_than_dense_statistics_alone(
    resnet: nn.Module, groups: Groups, images: Batches
) -> None:
    plan = plan_from_kept(groups, {group.name: range(6) for group in groups if group.units == 16})
    small = prune(resnet, plan, groups)
    plain, _ = repair(small, resnet, plan, images, Compensation(front_to_back=False), groups)
    followed, repairs = repair(small, resnet, plan, images, groups=groups)
    errors = [
        float(sum((model(x) - resnet(x)).square().sum() for x, _ in images).detach()) for model in (plain, followed)
    ]
    assert errors[1] < errors[0]
    assert any(found.way == "inputs" for found in repairs)
    for found in repairs:
        assert found.error_after < found.error_before if found.way != "none" else found.ridge is None


def test_other_convolutions_stay_as_they_are(resnet: nn.Module, groups: Groups, images: Batches) -> None:
    plan = plan_from_kept(groups, {name: range(4) for name in HIDDEN})
    before = {key: value.clone() for key, value in resnet.state_dict().items()}
    assert refit_convolutions(prune(resnet, plan, groups), resnet, Narrowed({}), images) == ()
    refit_convolutions(prune(resnet, plan, groups), resnet, narrowed_by(resnet, groups, plan), images)
    assert all(torch.equal(value, before[key]) for key, value in resnet.state_dict().items())
