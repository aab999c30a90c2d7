"""What a plan narrows: layers, heads and normalisations, against the tensors that surgery leaves."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from secateur.pipeline.recover.narrowed import NarrowedHeads, NarrowedLayer, narrowed_by, part_rows
from secateur.pipeline.statistics.moments import gather_moments
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups, Kept
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.surgery import prune

HALF = [head * 16 + dim for head in range(3) for dim in range(8)]


@pytest.mark.parametrize(
    ("kept", "layers"),
    [
        ({"blocks.0.mlp.hidden": range(0, 192, 2)}, {"blocks.0.mlp.fc2"}),
        ({"blocks.1.attn.heads": [0, 2]}, {"blocks.1.attn.proj"}),
        ({"blocks.1.attn.v": HALF, "blocks.1.attn.qk": HALF}, {"blocks.1.attn.proj"}),
        ({"blocks.1.attn.qk": HALF}, set()),
        ({}, set()),
    ],
)
def test_a_layer_that_reads_less_keeps_the_columns_of_its_mask(
    kept: Kept, layers: set[str], vit: nn.Module, vit_groups: Groups
) -> None:
    plan = plan_from_kept(vit_groups, kept)
    small, narrowed = prune(vit, plan, vit_groups), narrowed_by(vit, vit_groups, plan)
    assert set(narrowed.layers) == layers
    for name, layer in narrowed.layers.items():
        whole = vit.get_submodule(name).get_parameter("weight")
        left = small.get_submodule(name).get_parameter("weight")
        assert torch.equal(left, whole[layer.rows][:, layer.stays])
        assert not layer.renormalised
    assert not narrowed.norms


def test_heads_are_those_that_live_and_lose_dimensions(vit: nn.Module, vit_groups: Groups) -> None:
    kept = {"blocks.1.attn.v": HALF, "blocks.1.attn.heads": [0, 2], "blocks.0.attn.heads": [1]}
    narrowed = narrowed_by(vit, vit_groups, plan_from_kept(vit_groups, kept))
    assert list(narrowed.heads) == ["blocks.1.attn"]  # whole heads of block 0 went: nothing there to mix
    heads = narrowed.heads["blocks.1.attn"]
    assert heads.alive == [0, 2]
    assert heads.mixes_values() and not heads.mixes_products()
    assert heads.v.sum(1).tolist() == [8, 0, 8]
    assert heads.qk.sum(1).tolist() == [16, 0, 16]
    whole = torch.ones(2, 4, dtype=torch.bool)
    assert not NarrowedHeads("a", whole, whole).mixes_values()


def test_a_narrower_stream_renormalises_its_readers(vit: nn.Module, vit_groups: Groups) -> None:
    stays = list(range(0, 48, 3))
    plan = plan_from_kept(vit_groups, {"patch_embed.proj.width": stays})
    narrowed = narrowed_by(vit, vit_groups, plan)
    assert all(layer.renormalised for layer in narrowed.layers.values())
    assert set(narrowed.norms) == {"norm", *(f"blocks.{b}.norm{n}" for b in range(2) for n in (1, 2))}
    for mask in narrowed.norms.values():
        assert mask.nonzero().flatten().tolist() == stays
    assert narrowed.probes(vit) == {}  # their statistics depend on the pruned model


def test_a_grouped_convolution_is_several_matrices_with_statistics_of_their_own() -> None:
    torch.manual_seed(0)
    parts = [nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=2), nn.Flatten(), nn.Linear(8, 2)]
    model = nn.Sequential(*parts).eval()
    groups = find_groups(model, torch.zeros(1, 3, 3, 3))
    group = next(group for group in groups if any(part.tensor == "0.weight" for part in group.slices))
    plan = plan_from_kept(groups, {group.name: range(group.units - 1)})
    narrowed = narrowed_by(model, groups, plan)
    layer = narrowed.layers["2"]
    assert layer == NarrowedLayer(layer.stays, layer.rows, 2)
    assert layer.keys("2") == ["2[0]", "2[1]"]
    x = torch.randn(4, 3, 3, 3)
    with torch.no_grad():
        read = model[1](model[0](x))
    found = gather_moments(model, narrowed.probes(model), [(x, torch.zeros(4, dtype=torch.long))])
    for number, key in enumerate(layer.keys("2")):
        rows = part_rows(model[2], number, 2, read)
        assert torch.equal(rows, read[:, 4 * number : 4 * number + 4].flatten(1)[:, None])
        torch.testing.assert_close(found[key][0].mean, rows.double().mean((0, 1)))


def test_queries_and_keys_are_read_where_their_products_are_mixed(vit: nn.Module, vit_groups: Groups) -> None:
    narrowed = narrowed_by(vit, vit_groups, plan_from_kept(vit_groups, {"blocks.1.attn.qk": HALF}))
    probes = narrowed.probes(vit)
    assert set(probes) == {"blocks.1.attn.q", "blocks.1.attn.k"}
    packed = torch.randn(2, 5, 144)
    assert torch.equal(probes["blocks.1.attn.q"].rows(packed), packed[..., :48])
    keys = packed[..., 48:96]
    torch.testing.assert_close(probes["blocks.1.attn.k"].rows(packed), keys - keys.mean(1, keepdim=True))
