"""Convolutions on the pruned model's inputs: the regression from its definition, the order, and what it is worth."""

from __future__ import annotations

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.pipeline.recover import follow_layers as module
from secateur.pipeline.recover.batch_norm import reestimate
from secateur.pipeline.recover.compensate import repair
from secateur.pipeline.recover.follow_layers import follow_layers
from secateur.pipeline.recover.layers import find_cut
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.surgery import prune

Batches = list[tuple[Tensor, Tensor]]
HIDDEN = ("layer1.0.conv1.channels", "layer1.1.conv1.channels")


@pytest.fixture
def resnet(images: Batches) -> nn.Module:
    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=4, channels=(16, 16, 16, 16), zero_init_last=False).eval()
    reestimate(model, images)
    return model


@pytest.fixture
def groups(resnet: nn.Module, images: Batches) -> Groups:
    return find_groups(resnet, images[0][0][:1])


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


def test_the_refit_is_a_regression_on_what_the_pruned_model_feeds_the_layer(
    resnet: nn.Module, groups: Groups, images: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second layer, after the first has been refitted; the ridge is so weak that it is gone."""
    monkeypatch.setattr(module, "RIDGES", (1e-9,))
    plan = plan_from_kept(groups, {name: range(4) for name in HIDDEN})
    small = prune(resnet, plan, groups)
    layers = find_cut(resnet, groups, plan).layers
    repairs = follow_layers(small, resnet, dict(reversed(layers.items())), images)
    assert [found.layer for found in repairs] == ["layer1.0.conv2", "layer1.1.conv2"]
    z, _ = seen(small, images, "layer1.1.conv2")
    _, target = seen(resnet, images, "layer1.1.conv2")
    rows = F.unfold(z, 3, padding=1).transpose(1, 2).flatten(0, 1)
    rows = torch.cat([rows, torch.ones(len(rows), 1)], dim=1)
    solution = torch.linalg.lstsq(rows, target.flatten(2).transpose(1, 2).flatten(0, 1)).solution[:-1].T
    weight = small.get_submodule("layer1.1.conv2").weight
    torch.testing.assert_close(weight.detach().double().flatten(1), solution, rtol=1e-2, atol=1e-3)


def test_it_brings_the_models_output_closer_than_dense_statistics_alone(
    resnet: nn.Module, groups: Groups, images: Batches
) -> None:
    plan = plan_from_kept(groups, {group.name: range(6) for group in groups if group.units == 16})
    small = prune(resnet, plan, groups)
    plain, _ = repair(small, resnet, plan, images, groups=groups, front_to_back=False)
    followed, repairs = repair(small, resnet, plan, images, groups=groups)
    errors = [
        float(sum((model(x) - resnet(x)).square().sum() for x, _ in images).detach()) for model in (plain, followed)
    ]
    assert errors[1] < 0.95 * errors[0]
    assert any(found.way == "inputs" for found in repairs)
    for found in repairs:
        assert found.error_after < found.error_before if found.way != "none" else found.ridge is None


def test_other_layers_stay_as_they_are(resnet: nn.Module, groups: Groups, images: Batches) -> None:
    plan = plan_from_kept(groups, {name: range(4) for name in HIDDEN})
    before = {key: value.clone() for key, value in resnet.state_dict().items()}
    assert follow_layers(prune(resnet, plan, groups), resnet, {}, images) == ()
    follow_layers(prune(resnet, plan, groups), resnet, find_cut(resnet, groups, plan).layers, images)
    assert all(torch.equal(value, before[key]) for key, value in resnet.state_dict().items())
