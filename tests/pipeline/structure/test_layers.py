"""Whole layers as units: what they hold, what their going saves, and that surgery leaves nothing of the branch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from secateur.pipeline.structure.constant import ConstantBranch
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import LAYER_KINDS, Groups
from secateur.pipeline.structure.layers import INSIDE, in_units, unit_kinds, unit_names, with_layers
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.storage import load, save
from secateur.pipeline.structure.surgery import prune
from tests.conftest import make_vit
from tests.counting import torch_macs

INNER = {
    "blocks.0.attn": ("blocks.0.attn.heads", "blocks.0.attn.v", "blocks.0.attn.qk"),
    "blocks.0.mlp": ("blocks.0.mlp.hidden",),
    "blocks.0": ("blocks.0.attn.heads", "blocks.0.attn.v", "blocks.0.attn.qk", "blocks.0.mlp.hidden"),
}


@pytest.fixture(scope="module")
def layers(vit_groups: Groups) -> Groups:
    return with_layers(vit_groups)


def test_layers_hold_the_units_inside_them_and_are_not_part_of_the_architecture(
    vit_groups: Groups, layers: Groups
) -> None:
    assert layers[: len(vit_groups)] == vit_groups[:]
    found = {group.name: group for group in layers if group.holds}
    assert {name: found[name].holds for name in INNER} == INNER
    assert {group.kind for group in found.values()} == set(LAYER_KINDS)
    assert len(found) == 6
    for group in found.values():
        assert {layers.named(name).kind for name in group.holds} == set(INSIDE[group.kind])
        assert group.units == 1
        for part in (*group.slices, *group.sites):
            assert {*part.units} <= {0, -1}
    unverified = replace(vit_groups, architecture="")
    assert layers.fingerprint() == vit_groups.fingerprint()
    assert with_layers(unverified).fingerprint() == unverified.fingerprint()
    assert with_layers(layers) == layers


def test_a_choice_of_layers_is_one_of_the_units_inside(layers: Groups) -> None:
    some = {"blocks.0.mlp.hidden": range(8), "blocks.1.mlp.hidden": range(4)}
    assert in_units(layers, some) is some
    assert in_units(layers, {**some, "blocks.0.mlp": [0], "blocks.1.attn": [0]}) == some
    gone = in_units(layers, {**some, "blocks.0": []})
    assert gone == {**dict.fromkeys(INNER["blocks.0"], ()), "blocks.1.mlp.hidden": range(4)}
    assert unit_names(layers, ["blocks.0.mlp", "blocks.0.mlp.hidden"]) == ["blocks.0.mlp.hidden"]
    assert unit_kinds(["channel", "mlp", "block"]) == ("channel", "mlp_hidden", "head", "qk_dim", "v_dim")


@pytest.mark.parametrize("name", INNER)
def test_of_a_layer_that_goes_nothing_is_left_but_a_constant(
    name: str, layers: Groups, vit: nn.Module, tmp_path: Path
) -> None:
    kept = in_units(layers, {name: ()})
    plan = plan_from_kept(layers, kept)
    small = prune(vit, plan, layers)  # which proves that removed is masked
    parts = [part for part in ("attn", "mlp") if name in ("blocks.0", f"blocks.0.{part}")]
    block = small.get_submodule("blocks.0")
    assert all(isinstance(block.get_submodule(part), ConstantBranch) for part in parts)
    x = torch.randn(2, 3, 16, 16)
    assert layers.macs(kept) == torch_macs(small, x[:1])
    assert layers.params(kept) == sum(tensor.numel() for tensor in small.parameters())
    save(small, tmp_path)
    with torch.no_grad():
        assert torch.equal(load(tmp_path)(x), small(x))


def test_only_layers_that_may_go_whole_are_units() -> None:
    def kinds(model: nn.Module, size: int) -> set[str]:
        groups = find_groups(model, torch.zeros(1, 3, size, size), verify=False)
        return {group.kind for group in with_layers(groups) if group.holds}

    assert kinds(make_vit(depth=1, scale_attn_norm=True), 16) == {"mlp"}  # a normalisation over all heads
    torch.manual_seed(0)
    assert kinds(timm.create_model("resnet10t").eval(), 32) == set()
