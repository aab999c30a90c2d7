"""Ragged attention against softmax(scale q k^T) v written out head by head."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, fx, nn

from secateur.kernels.ragged_attention import RaggedAttention


def reference(module: RaggedAttention, x: Tensor) -> Tensor:
    """One head, one sample, one query at a time, in float64."""
    packed = x.double() @ module.qkv.weight.double().T + module.qkv.bias.double()
    total = sum(module.qk_dims)
    rows = []
    for sample in packed:
        heads, q_at, v_at = [], 0, 2 * total
        for width, value_width in zip(module.qk_dims, module.v_dims, strict=True):
            q, k = sample[:, q_at : q_at + width], sample[:, total + q_at : total + q_at + width]
            v = sample[:, v_at : v_at + value_width]
            heads.append(torch.stack([torch.softmax(module.scale * (k @ query), 0) @ v for query in q]))
            q_at, v_at = q_at + width, v_at + value_width
        rows.append(torch.cat(heads, dim=1))
    return torch.stack(rows) @ module.proj.weight.double().T + module.proj.bias.double()


def build(qk: list[int], v: list[int], width: int = 12) -> RaggedAttention:
    torch.manual_seed(0)
    return RaggedAttention(nn.Linear(width, 2 * sum(qk) + sum(v)), nn.Linear(sum(v), width), qk, v, 0.25).eval()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=5), st.integers(1, 7))
def test_every_width_matches_the_definition(heads: list[tuple[int, int]], tokens: int) -> None:
    module = build([qk for qk, _ in heads], [v for _, v in heads])
    x = torch.randn(2, tokens, 12, generator=torch.Generator().manual_seed(tokens))
    torch.testing.assert_close(module(x).double(), reference(module, x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("qk", "v"), [([3, 3], [2, 2]), ([4, 2, 4], [3, 5, 3])])
def test_it_is_traced_by_fx_for_any_number_of_tokens(qk: list[int], v: list[int]) -> None:
    module = build(qk, v)
    graph = fx.symbolic_trace(nn.Sequential(module))
    for shape in ((1, 3, 12), (2, 5, 12)):
        x = torch.randn(shape)
        torch.testing.assert_close(graph(x), module(x))


def test_widths_that_do_not_fit_the_layers_are_refused() -> None:
    with pytest.raises(ValueError, match="need 16 and 4"):
        RaggedAttention(nn.Linear(8, 15), nn.Linear(4, 8), [3, 3], [2, 2], 1.0)


def test_causal_attention_of_unequal_heads_sees_no_later_token() -> None:
    module = build([4, 2], [3, 5])
    x = torch.randn(1, 6, 12)
    changed = x.clone()
    changed[:, -1] += 1
    before, after = module(x, is_causal=True), module(changed, is_causal=True)
    torch.testing.assert_close(before[:, :-1], after[:, :-1])
    assert not torch.allclose(before[:, -1], after[:, -1])
