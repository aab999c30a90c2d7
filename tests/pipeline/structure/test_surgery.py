"""Surgery on timm's vision transformers: removed equals masked, the scale stays, the dense model is untouched."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from secateur.core.errors import PlanError, SurgeryError
from secateur.kernels.ragged_attention import RaggedAttention
from secateur.pipeline.structure.constant import ConstantBranch
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import KINDS, Groups
from secateur.pipeline.structure.plan import Plan, plan_from_kept
from secateur.pipeline.structure.surgery import cut, prune, verify
from tests.conftest import make_vit
from tests.counting import torch_macs
from tests.later import mostly_nightly
from tests.signatures import towers, towers_inputs

VARIANTS = {
    "vit": {},
    "deit with distillation": {"name": "deit_tiny_distilled_patch16_224"},
    "swiglu packed": {"mlp_layer": timm.layers.SwiGLUPacked, "act_layer": nn.SiLU},
    "swiglu": {"mlp_layer": timm.layers.SwiGLU},
    "registers, average pooling": {"reg_tokens": 2, "class_token": False, "global_pool": "avg", "fc_norm": True},
    "layer scale, no qkv bias": {"init_values": 0.5, "qkv_bias": False},
    "normalised queries and keys": {"qk_norm": True},
    "wide heads": {"num_heads": 1},
}


def variant(name: str) -> nn.Module:
    kwargs = dict(VARIANTS[name])
    if "name" in kwargs:
        torch.manual_seed(0)
        return timm.create_model(str(kwargs["name"]), img_size=32, depth=2, num_classes=5).eval()
    return make_vit(**kwargs)


def random_plan(groups: Groups, seed: int, share: float, kinds: tuple[str, ...] = KINDS) -> Plan:
    """A plan that keeps each unit of some kinds with probability `share`, and each group's minimum."""
    generator = torch.Generator().manual_seed(seed)
    kept = {}
    for group in (group for group in groups if group.kind in kinds):
        chosen = torch.rand(group.blocks, group.units // group.blocks, generator=generator) < share
        if group.blocks > 1 or group.min_units:
            chosen[:, 0] = True
        kept[group.name] = chosen.flatten().nonzero().flatten().tolist()
    return plan_from_kept(groups, kept)


def over_kept(norm: nn.LayerNorm, stays: Tensor) -> object:
    """A hook that makes a layer norm one over the features that stay, the others being zero."""

    def hook(_module: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> Tensor:
        x = inputs[0][..., stays]
        centred = x - x.mean(-1, keepdim=True)
        normal = centred / (centred.square().mean(-1, keepdim=True) + norm.eps).sqrt()
        out = torch.zeros_like(inputs[0])
        out[..., stays] = normal * norm.weight[stays] + norm.bias[stays]
        return out

    return hook


def zeroed(model: nn.Module, groups: Groups, plan: Plan, x: Tensor) -> Tensor:
    """The dense model with the removed units' values set to zero where they are read, by hooks.

    Normalisations count the units of the residual stream that stay.
    """
    handles = []
    for name, axis in groups.norms.items():
        norm = model.get_submodule(name)
        assert isinstance(norm, nn.LayerNorm)
        stays = torch.from_numpy(axis.positions(plan.kept))
        handles.append(norm.register_forward_hook(over_kept(norm, stays)))
    for group in groups:
        gone = torch.ones(group.units, dtype=torch.bool)
        gone[list(plan.kept.get(group.name, range(group.units)))] = False
        for site in group.sites:
            index = torch.tensor(site.units)
            where = (index >= 0) & gone[index.clamp_min(0)]

            def zero(tensor: Tensor, where: Tensor = where) -> Tensor:
                return tensor.masked_fill(where, 0.0)

            module = model.get_submodule(site.module)
            if site.side == "input":
                handles.append(module.register_forward_pre_hook(lambda _m, args, zero=zero: (zero(args[0]),)))
            else:
                handles.append(module.register_forward_hook(lambda _m, _a, out, zero=zero: zero(out)))
    try:
        return model(x)
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("name", mostly_nightly(VARIANTS, ("vit", "swiglu packed", "wide heads")))
def test_removed_equals_masked_in_every_variant(name: str) -> None:
    model = variant(name)
    shape = (3, 32, 32) if "name" in VARIANTS[name] else (3, 16, 16)
    groups = find_groups(model, torch.zeros(1, *shape))
    before = copy.deepcopy(model.state_dict())
    x = torch.randn(2, *shape)
    for share, known in ((0.2, None), (0.6, groups)):
        plan = random_plan(groups, 7, share)
        small = prune(model, plan, known)
        with torch.no_grad():
            torch.testing.assert_close(small(x), zeroed(model, groups, plan, x), atol=2e-5, rtol=1e-4)
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
        assert sum(p.numel() for p in small.parameters()) == groups.params(plan.kept) < groups.params()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1))
def test_any_plan_removes_what_it_masks_and_costs_what_it_says(vit_groups: Groups, seed: int, share: float) -> None:
    model, groups = make_vit(), vit_groups
    plan = random_plan(groups, seed, share)
    small = prune(model, plan, groups)
    with torch.no_grad():
        x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
        torch.testing.assert_close(small(x), zeroed(model, groups, plan, x), atol=2e-5, rtol=1e-4)
    assert torch_macs(small, x[:1]) == pytest.approx(groups.macs(plan.kept), rel=1e-6)


def test_the_scale_stays_that_of_the_dense_head(vit: nn.Module, vit_groups: Groups) -> None:
    plan = plan_from_kept(vit_groups, {"blocks.0.attn.qk": [h * 16 + d for h in range(3) for d in range(4)]})
    attention = prune(vit, plan).get_submodule("blocks.0.attn")
    assert isinstance(attention, RaggedAttention)
    assert attention.qk_dims == (4, 4, 4)
    assert attention.scale == pytest.approx(16**-0.5)


def test_heads_of_one_layer_may_keep_different_widths(vit: nn.Module, vit_groups: Groups) -> None:
    kept = {"blocks.0.attn.v": [0, 1, 2, 16, *range(32, 48)], "blocks.0.attn.qk": [5, 16, 17, 32]}
    attention = prune(vit, plan_from_kept(vit_groups, kept)).get_submodule("blocks.0.attn")
    assert isinstance(attention, RaggedAttention)
    assert (attention.qk_dims, attention.v_dims) == ((1, 2, 1), (3, 1, 16))


def test_a_layer_may_lose_all_heads_or_all_hidden_units(vit: nn.Module, vit_groups: Groups) -> None:
    small = prune(vit, plan_from_kept(vit_groups, {"blocks.0.attn.heads": [], "blocks.1.mlp.hidden": []}))
    assert isinstance(small.get_submodule("blocks.0.attn"), ConstantBranch)
    assert isinstance(small.get_submodule("blocks.1.mlp"), ConstantBranch)
    small.train()(torch.randn(2, 3, 16, 16)).sum().backward()
    assert small.get_submodule("blocks.0.attn.proj").bias.grad is not None


def test_the_small_model_is_an_ordinary_module(vit: nn.Module, vit_groups: Groups) -> None:
    small = prune(vit, random_plan(vit_groups, 3, 0.5))
    width = small.get_submodule("norm").normalized_shape[0]
    assert width < 48
    x = torch.randn(2, 3, 16, 16)
    small.train()
    small(x).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in small.parameters())
    small.eval()
    assert torch.equal(copy.deepcopy(small)(x), small(x))
    assert small.forward_features(x).shape == (2, 17, width)
    torch.testing.assert_close(torch.compile(small, backend="eager")(x), small(x))
    small.load_state_dict(small.state_dict())


def test_a_plan_of_another_architecture_is_refused(vit_groups: Groups) -> None:
    plan = plan_from_kept(vit_groups, {"blocks.0.mlp.hidden": [0]})
    with pytest.raises(PlanError, match="another architecture"):
        prune(make_vit(embed_dim=96), plan)


def test_the_proof_names_the_group_that_disagrees(
    vit: nn.Module, vit_groups: Groups, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_from_kept(vit_groups, {"blocks.0.mlp.hidden": range(8), "blocks.1.attn.qk": range(0, 48, 2)})

    def wrong_scale(part: Plan) -> nn.Module:
        small = cut(vit, vit_groups, part)
        for module in small.modules():
            if isinstance(module, RaggedAttention):
                module.scale = 8**-0.5  # what timm's own attention would take for 8 dims
        return small

    with pytest.raises(SurgeryError, match=r"blocks\.1\.attn\.qk"):
        verify(wrong_scale(plan), vit, plan, vit_groups)


def test_a_model_of_several_inputs_is_pruned_and_verified_by_a_plan_from_a_file(tmp_path: Path) -> None:
    model = towers()
    groups = find_groups(model, towers_inputs())
    kept = {group.name: range(0, group.units, 2) for group in groups}
    plan_from_kept(groups, kept).save(tmp_path / "plan.json")
    plan = Plan.load(tmp_path / "plan.json")
    assert plan == plan_from_kept(groups, kept)
    small = prune(model, plan)
    found = verify(small, model, plan)
    assert found.unverifiable == () and min(found.sensitivity.values()) > 1e-3
    assert small.get_parameter("up.weight").shape == (16, 8)
    with torch.no_grad():
        small.get_parameter("text.weight")[:, [0, 1]] = small.get_parameter("text.weight")[:, [1, 0]]
    with pytest.raises(SurgeryError, match="hidden"):
        verify(small, model, plan)
