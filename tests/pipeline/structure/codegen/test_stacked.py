"""Slices of unequal size, one by one: what is packed, moved and taken apart is what a list of slices would be."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secateur.pipeline.structure.codegen.calls import CodeError
from tests.pipeline.structure.codegen.taking_over import Around, Code, check, take_over

EXAMPLE = torch.randn(1, 5, 8)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return ((q @ k.transpose(-2, -1)).softmax(-1) @ v).transpose(1, 2)


def unbound(m: Any, x: Tensor) -> Tensor:
    q, k, v = m.qkv(x).reshape(x.shape[0], 5, 3, 2, 8).permute(2, 0, 3, 1, 4).unbind(0)
    return m.proj(attend(q, k, v).reshape(x.shape[0], 5, 16))


def selected(m: Any, x: Tensor) -> Tensor:
    qkv = m.qkv(x).view(x.shape[0], 5, 3, 2, 8).permute(2, 0, 3, 1, 4).contiguous()
    return m.proj(attend(qkv[0], qkv[1], qkv[2]).reshape(x.shape[0], 5, 16))


def turned(m: Any, x: Tensor) -> Tensor:
    qkv = m.qkv(x).unflatten(-1, (3, 2, 8)).transpose(1, 2).transpose(2, 3)
    q, k, v = qkv.unbind(1)
    return m.proj(attend(q, k, v).reshape(x.shape[0], 5, 16))


def unbound_later(m: Any, x: Tensor) -> Tensor:
    q, k, v = m.qkv(x).reshape(x.shape[0], 5, 3, 2, 8).transpose(1, 3).unbind(-3)
    return m.proj(attend(q, k, v).reshape(x.shape[0], 5, 16))


def taken_apart_by_a_new_dimension(m: Any, x: Tensor) -> Tensor:  # as nn.MultiheadAttention does
    qkv = m.qkv(x).unflatten(-1, (3, 16)).unsqueeze(0).transpose(0, -2).squeeze(-2).contiguous()
    q, k, v = (qkv[part].view(x.shape[0], 5, 2, 8).transpose(1, 2) for part in range(3))
    return m.proj(attend(q, k, v).reshape(x.shape[0], 5, 16))


def of_windows(m: Any, x: Tensor) -> Tensor:  # as in Twins, whose windows are pixels put together
    b = x.shape[0]
    q, k, v = m.qkv(x.reshape(b, 5, 1, 16)).reshape(b, 5 * 1, 3, 2, 8).permute(2, 0, 3, 1, 4).unbind(0)
    return m.proj(attend(q, k, v).reshape(b, 5, 16))


def of_channels(m: Any, x: Tensor) -> Tensor:  # as in Visformer, whose channels come before pixels
    y = m.qkv(x).transpose(1, 2).unsqueeze(-1)
    q, k, v = y.reshape(x.shape[0], 3, 2, 8, -1).permute(1, 0, 2, 4, 3).unbind(0)
    return m.proj(attend(q, k, v).reshape(x.shape[0], 5, 16))


def heads_in_the_batch(m: Any, x: Tensor) -> Tensor:  # as in SAM
    b = x.shape[0]
    qkv = m.qkv(x).reshape(b, 5, 3, 2, 8).permute(2, 0, 3, 1, 4)
    q, k, v = qkv.reshape(3, b * 2, 5, -1).unbind(0)
    y = (q @ k.transpose(-2, -1)).softmax(-1) @ v
    return m.proj(y.view(b, 2, 5, -1).transpose(1, 2).reshape(b, 5, -1))


def doubled(m: Any, x: Tensor) -> Tensor:
    qkv = m.qkv(x).reshape(x.shape[0], 5, 3, 2, 8).permute(2, 0, 3, 1, 4) * 2.0
    return m.proj(attend(qkv[0], qkv[1], qkv[2]).reshape(x.shape[0], 5, 16))


def heads_first(m: Any, x: Tensor) -> Tensor:
    qkv = m.qkv(x).reshape(x.shape[0], 5, 2, 3, 8).permute(3, 0, 2, 1, 4)
    return m.proj(attend(qkv[0], qkv[1], qkv[2]).reshape(x.shape[0], 5, 16))


def model(function: Any) -> nn.Module:
    return Around(nn.Linear(8, 16), Code(function, qkv=nn.Linear(16, 48), proj=nn.Linear(16, 16)), nn.Linear(16, 4))


PACKED = [
    unbound,
    selected,
    turned,
    unbound_later,
    taken_apart_by_a_new_dimension,
    of_windows,
    of_channels,
    heads_in_the_batch,
]


@pytest.mark.parametrize("function", PACKED)
def test_packed_projections_may_lose_dimensions_of_values_alone(function: Any) -> None:
    found = take_over(model(function), EXAMPLE, but=("qk_dim", "head"))
    qkv = found.inner.get_submodule("qkv")
    assert isinstance(qkv, nn.Linear)
    assert 32 < qkv.out_features < 48, "queries and keys have kept all their dimensions"
    check(found, EXAMPLE)


@pytest.mark.parametrize("function", [doubled, heads_first])
def test_other_operations_on_them_are_refused(function: Any) -> None:
    with pytest.raises(CodeError, match="heads of one width only"):
        take_over(model(function), EXAMPLE, but=("qk_dim", "head"))
