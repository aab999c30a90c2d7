"""Following the pruned model's own stream: its targets from the definition, and what it is worth."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn

from secateur.pipeline.recover import follow as module
from secateur.pipeline.recover.compensate import repair
from secateur.pipeline.recover.follow import follow
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.surgery import prune
from tests.conftest import make_vit

Batches = list[tuple[Tensor, Tensor]]
KEPT = {"blocks.0.mlp.hidden": range(64), "blocks.1.attn.v": [h * 16 + d for h in range(3) for d in range(8)]}


@pytest.fixture(scope="module")
def many() -> Batches:
    generator = torch.Generator().manual_seed(5)
    return [(torch.randn(n, 3, 16, 16, generator=generator), torch.zeros(n, dtype=torch.long)) for n in (16, 16, 13)]


def inputs(model: nn.Module, batches: Batches, name: str) -> Tensor:
    found: list[Tensor] = []
    handle = model.get_submodule(name).register_forward_pre_hook(lambda _m, args: found.append(args[0].detach()))
    with torch.no_grad():
        for x, _ in batches:
            model(x)
    handle.remove()
    return torch.cat(found)


@pytest.mark.parametrize("scaled", [False, True])
def test_the_refit_is_a_regression_of_the_dense_stream_on_the_pruned_models_inputs(
    scaled: bool, many: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second layer of the chain, after the first has been refitted; the ridge is so weak that it is gone."""
    monkeypatch.setattr(module, "RIDGES", (1e-9,))
    vit = make_vit(init_values=0.5) if scaled else make_vit()
    groups = find_groups(vit, many[0][0][:1])
    small = prune(vit, plan_from_kept(groups, KEPT), groups)
    repairs = follow(small, vit, ["blocks.0.mlp.fc2", "blocks.1.attn.proj"], many)
    assert [found.layer for found in repairs] == ["blocks.0.mlp.fc2", "blocks.1.attn.proj"]
    h = inputs(small, many, "blocks.1.attn.proj").double()
    before = inputs(small, many, "blocks.1.norm1")
    target = (inputs(vit, many, "blocks.1.norm2") - before).double()
    if scaled:
        target = target / vit.get_submodule("blocks.1.ls1").gamma.detach()
    weights = torch.ones(h.shape[:2]).double()
    weights[:, 0] = 10
    root = weights.sqrt().flatten()[:, None]
    design = torch.cat([h.flatten(0, 1), torch.ones(h.shape[0] * h.shape[1], 1)], dim=1)
    solution = torch.linalg.lstsq(root * design, root * target.flatten(0, 1)).solution
    layer = small.get_submodule("blocks.1.attn.proj")
    torch.testing.assert_close(layer.weight.detach().double(), solution[:-1].T, rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(layer.bias.detach().double(), solution[-1], rtol=1e-2, atol=1e-3)


def test_it_brings_the_models_output_closer_than_dense_statistics_alone(
    vit: nn.Module, vit_groups: Groups, many: Batches
) -> None:
    plan = plan_from_kept(vit_groups, KEPT)
    small = prune(vit, plan, vit_groups)
    plain, _ = repair(small, vit, plan, many, groups=vit_groups, front_to_back=False)
    followed, repairs = repair(small, vit, plan, many, groups=vit_groups)
    errors = [float(sum((model(x) - vit(x)).square().sum() for x, _ in many).detach()) for model in (plain, followed)]
    assert errors[1] < 0.95 * errors[0]
    assert any(found.way == "stream" for found in repairs)
    for found in repairs:
        assert found.error_after < found.error_before if found.way != "none" else found.ridge is None


def test_layers_that_nothing_is_known_of_stay_as_they_are(vit: nn.Module, vit_groups: Groups, many: Batches) -> None:
    small = prune(vit, plan_from_kept(vit_groups, KEPT), vit_groups)
    before = {key: value.clone() for key, value in small.state_dict().items()}
    assert follow(small, vit, ["head"], many) == ()
    assert follow(small, vit, [], many) == ()
    other = timm.create_model("resnet10t", num_classes=2).eval()
    assert follow(other, other, ["layer1.0.conv2"], many) == ()
    assert all(torch.equal(value, before[key]) for key, value in small.state_dict().items())


def test_a_model_that_does_more_than_chain_its_blocks_is_left_alone(
    vit: nn.Module, vit_groups: Groups, many: Batches
) -> None:
    small = prune(vit, plan_from_kept(vit_groups, KEPT), vit_groups)
    blocks = vit.get_submodule("blocks")
    vit.blocks.forward = lambda x: blocks[1](2 * blocks[0](x))  # type: ignore[method-assign]  # another forward on purpose
    assert follow(small, vit, ["blocks.0.mlp.fc2"], many) == ()


def test_a_branch_that_lost_everything_is_left_alone(vit: nn.Module, vit_groups: Groups, many: Batches) -> None:
    plan = plan_from_kept(vit_groups, {"blocks.0.mlp.hidden": [], "blocks.1.mlp.hidden": range(64)})
    _, repairs = repair(prune(vit, plan, vit_groups), vit, plan, many, groups=vit_groups)
    assert [found.way for found in repairs if found.layer == "blocks.1.mlp.fc2"][:1] == ["refit"]
