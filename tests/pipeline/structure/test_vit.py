"""timm's attention and MLPs: which rows and columns belong to a head, a query/key or a value dimension."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from timm.layers import Attention, GluMlp, Mlp, SwiGLU
from torch import nn

from secateur.pipeline.structure.groups import Group
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
    assert {group.kind for group in normed.groups} == {"head", "v_dim"}
    values = attention_groups("a", Attention(WIDTH, num_heads=HEADS, scale_norm=True, norm_layer=nn.LayerNorm), 5.0)
    assert [one.kind for one in values.fixed] == ["head", "v_dim"]
    assert [group.parent for group in values.groups] == [""]
    assert all("normali" in one.reason for one in (*normed.fixed, *values.fixed))


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
