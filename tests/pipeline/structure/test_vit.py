"""timm's attention and MLPs: which rows and columns belong to a head, a query/key or a value dimension."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from timm.layers import Attention, GluMlp, Mlp, RmsNorm, SwiGLU
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Group
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.surgery import prune
from secateur.pipeline.structure.vit import attention_groups, is_mlp

HEADS, DIMS, WIDTH = 2, 3, 6


def groups_of(**kwargs: object) -> dict[str, Group]:
    module = Attention(WIDTH, num_heads=HEADS, qkv_bias=True, **kwargs)  # type: ignore[arg-type]  # timm's own options
    return {group.kind: group for group in attention_groups("a", module, 5.0).groups}


def positions(group: Group, tensor: str, dim: int) -> list[int]:
    (part,) = [part for part in group.slices if (part.tensor, part.dim) == (tensor, dim)]
    return list(part.units)


def test_rows_are_all_queries_then_all_keys_then_all_values_head_by_head() -> None:
    groups = groups_of()
    head = [unit // DIMS for unit in range(WIDTH)]
    each, none = list(range(WIDTH)), [-1] * WIDTH
    assert positions(groups["head"], "a.qkv.weight", 0) == positions(groups["head"], "a.qkv.bias", 0) == head * 3
    assert positions(groups["qk_dim"], "a.qkv.weight", 0) == [*each, *each, *none]
    assert positions(groups["v_dim"], "a.qkv.bias", 0) == [*none, *none, *each]
    assert positions(groups["head"], "a.proj.weight", 1) == head
    assert positions(groups["v_dim"], "a.proj.weight", 1) == each
    assert not any(part.role == "in" for part in groups["qk_dim"].slices)
    assert groups["qk_dim"].blocks == groups["v_dim"].blocks == HEADS
    assert groups["qk_dim"].parent == groups["v_dim"].parent == "a.heads"


def test_a_gate_over_the_values_goes_with_them() -> None:
    groups = groups_of()
    gated = Attention(WIDTH, num_heads=HEADS)
    gated.gate = nn.Linear(WIDTH, WIDTH)
    with_gate = {group.kind: group for group in attention_groups("a", gated, 5.0).groups}
    assert positions(with_gate["v_dim"], "a.gate.weight", 0) == list(range(WIDTH))
    assert all(part.tensor != "a.gate.weight" for part in groups["v_dim"].slices)


def test_normalised_queries_or_values_are_fixed_with_the_reason() -> None:
    normed = attention_groups("a", Attention(WIDTH, num_heads=HEADS, qk_norm=True, norm_layer=nn.LayerNorm), 5.0)
    assert [(one.name, one.kind) for one in normed.fixed] == [("a.qk", "qk_dim")]
    assert {group.kind for group in normed.groups} == {"head", "v_dim"} and not normed.norms
    values = attention_groups("a", Attention(WIDTH, num_heads=HEADS, scale_norm=True, norm_layer=nn.LayerNorm), 5.0)
    assert [one.kind for one in values.fixed] == ["head", "v_dim"]
    assert [group.parent for group in values.groups] == [""]
    assert all("normali" in one.reason for one in (*normed.fixed, *values.fixed))


@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.RMSNorm, RmsNorm])
def test_queries_and_keys_whose_normalisation_can_be_cut_lose_the_same_dimensions_in_all_heads(norm: Any) -> None:
    torch.manual_seed(0)
    kwargs = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 4, "num_classes": 3}
    model = VisionTransformer(qk_norm=True, norm_layer=norm, **kwargs).eval()  # type: ignore[arg-type]  # timm's own
    groups = find_groups(model, torch.zeros(1, 3, 16, 16))
    qk = groups.named("blocks.0.attn.qk")
    assert (qk.units, qk.blocks, qk.parent) == (4, 1, "")
    assert "qk_dim" not in {one.kind for one in groups.fixed} and groups.unverifiable == ()
    kept = {qk.name: (0, 3), "blocks.0.attn.heads": (0, 2, 3), "blocks.0.attn.v": (0, 9, 10, 12)}
    small = prune(model, plan_from_kept(groups, kept), groups)
    rows = [head * 4 + dim for head in (0, 2, 3) for dim in (0, 3)]
    dense = model.get_parameter("blocks.0.attn.qkv.weight")
    assert torch.equal(small.get_parameter("blocks.0.attn.qkv.weight")[:6], dense[rows])
    assert torch.equal(small.get_parameter("blocks.0.attn.k_norm.weight"), torch.ones(2))
    assert sum(tensor.numel() for tensor in small.parameters()) == groups.params(kept)
    assert groups.macs(kept) < groups.macs({name: kept[name] for name in kept if name != qk.name})


def test_the_products_cost_what_two_loops_over_tokens_cost() -> None:
    logits, values = attention_groups("a", Attention(WIDTH, num_heads=HEADS), 5.0).terms
    q, k = np.zeros((5, WIDTH)), np.zeros((5, WIDTH))
    assert logits.count({}) == values.count({}) == sum(q[:1].size for _ in range(len(q)) for _ in range(len(k)))
    assert logits.count({"a.qk": [0, 3]}) == 25 * 2
    assert values.count({"a.qk": [0, 3]}) == 25 * WIDTH
    assert values.count({"a.heads": [1]}) == logits.count({"a.heads": [1]}) == 25 * DIMS


@pytest.mark.parametrize("kind", [Mlp, GluMlp, SwiGLU])
def test_mlps_of_linear_layers_are_known(kind: type[nn.Module]) -> None:
    assert is_mlp(kind(8, 16))
    assert not is_mlp(Mlp(8, 16, use_conv=True))
    assert not is_mlp(nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 8)))
    assert kind(8, 16)(torch.zeros(1, 8)).shape == (1, 8)
