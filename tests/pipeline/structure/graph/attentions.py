"""Attention as timm and others write it, each between two layers: what the tests of heads are run over."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers.attention2d import MultiQueryAttention2d
from timm.models.cait import TalkingHeadAttn
from timm.models.davit import ChannelAttention, ChannelAttentionV2
from timm.models.edgenext import CrossCovarianceAttn
from timm.models.efficientvit_mit import LiteMLA
from timm.models.maxxvit import AttentionCl, RelPosMlp
from timm.models.mvitv2 import MultiScaleAttention
from timm.models.vision_transformer_sam import Attention as SamAttention
from timm.models.xcit import XCA
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

WIDTH, HEADS, DIMS, SIDE = 16, 4, 4, 4
IMAGE = torch.zeros(1, 3, SIDE, SIDE)


class Between(nn.Module):
    """Attention over tokens `[B, N, width]`, or over a map `[B, width, H, W]`, between two layers."""

    def __init__(self, attention: nn.Module, images: bool = False, args: tuple[Any, ...] = ()) -> None:
        super().__init__()
        self.first, self.a, self.last = nn.Conv2d(3, WIDTH, 1), attention, nn.Linear(WIDTH, 7)
        self.images, self.args = images, args

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = self.a(x if self.images else x.flatten(2).transpose(1, 2), *self.args)
        x = x[0] if isinstance(x, tuple) else x
        out: Tensor = self.last(x.mean((2, 3) if self.images else 1))
        return out


class Chunked(nn.Module):
    """Queries, keys and values as equal parts of one projection."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * HEADS * DIMS), nn.Linear(HEADS * DIMS, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (HEADS, DIMS)).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        out: Tensor = self.proj(self.attend(q, k, v).transpose(1, 2).flatten(2))
        return out

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v)


class AmongSamples(Chunked):
    """Each head of each sample is a sample of its own."""

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, HEADS, -1).permute(2, 0, 3, 1, 4).reshape(3, b * HEADS, -1, DIMS).unbind(0)
        out: Tensor = self.proj(self.attend(q, k, v).view(b, HEADS, n, -1).transpose(1, 2).flatten(2))
        return out


class Places(nn.Module):
    """Windows of which rows and columns have vectors that meet the queries of every head (SAM)."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = SamAttention(WIDTH, HEADS, use_rel_pos=True, input_size=(SIDE, SIDE))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.attention(x.unflatten(1, (SIDE, SIDE))).flatten(1, 2)
        return out


class OfOther(nn.Module):
    """PyTorch's own attention, of other tokens than those that ask."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        other = x.flip(1)
        found: Tensor = self.attention(x, other, other, need_weights=False)[0]
        return found


class Padded(nn.Module):
    """PyTorch's own attention without some tokens of each sample, and with a token of zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True, add_zero_attn=True)

    def forward(self, x: Tensor) -> Tensor:
        total = x.sum(-1)
        small = total < total.mean(1, keepdim=True)
        found: Tensor = self.attention(x, x, x, key_padding_mask=small, need_weights=False)[0]
        return found


class LearnedQueries(nn.Module):
    """Queries that are parameters ask the tokens, as in DETR's decoder; projections are apart."""

    def __init__(self, count: int = 6) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(1, count, WIDTH))
        self.keys, self.values = nn.Linear(WIDTH, 12), nn.Linear(WIDTH, 12)
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, kdim=12, vdim=12, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        queries = self.queries.expand(len(x), -1, -1)
        asked: Tensor = self.attention(queries, self.keys(x), self.values(x), need_weights=False)[0]
        return x + asked.mean(1, keepdim=True)


class Grouped(nn.Module):
    """Two heads of queries share one of keys and one of values, in some `way` of writing it."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.q, self.o = way, nn.Linear(WIDTH, HEADS * DIMS), nn.Linear(HEADS * DIMS, WIDTH)
        self.k, self.v = (nn.Linear(WIDTH, HEADS // 2 * DIMS) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (layer(x).unflatten(-1, (-1, DIMS)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        out: Tensor = self.o(self.attend(q, k, v).transpose(1, 2).flatten(2))
        return out

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        shape = q.shape
        if self.way == "expanded":
            k, v = (x[:, :, None].expand(-1, -1, 2, -1, -1).reshape(shape) for x in (k, v))
            return F.scaled_dot_product_attention(q, k, v)
        if self.way == "among the tokens":
            return F.scaled_dot_product_attention(q.reshape(shape[0], HEADS // 2, -1, DIMS), k, v).reshape(shape)
        q = q.unflatten(1, (HEADS // 2, 2))
        if self.way == "einsum":
            weights = torch.einsum("bkrnd,bkmd->bkrnm", q, k).softmax(-1)
            return torch.einsum("bkrnm,bkmd->bkrnd", weights, v).flatten(1, 2)
        return ((q @ k[:, :, None].mT).softmax(-1) @ v[:, :, None]).flatten(1, 2)


WAYS = ("expanded", "among the tokens", "einsum", "broadcast")


class Linear(Chunked):
    """Keys meet values before queries do, with positive functions of both in place of a softmax."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k = F.elu(q) + 1, F.elu(k) + 1
        lengths = (q * k.sum(-2, keepdim=True)).sum(-1, keepdim=True)
        return q @ (k.mT @ v) / lengths


class Kernels(Chunked):
    """The values of half of the heads are seen by one convolution, those of the others by another (CoaT)."""

    def __init__(self) -> None:
        super().__init__()
        half = HEADS // 2 * DIMS
        self.one, self.three = nn.Conv1d(half, half, 1, groups=half), nn.Conv1d(half, half, 3, padding=1, groups=half)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        first, others = v.mT.flatten(1, 2).split(HEADS // 2 * DIMS, 1)
        seen = torch.cat([self.one(first), self.three(others)], 1).unflatten(1, (HEADS, DIMS))
        return super().attend(q, k, v) + q * seen.mT


def _pooled(residual: bool) -> Between:
    """Queries, keys and values that are pooled head by head, the queries added to the result or not (MViTv2)."""
    kernels: dict[str, Any] = {"kernel_q": (3, 3), "kernel_kv": (3, 3), "stride_kv": (2, 2)}
    size = (SIDE, SIDE)
    module = MultiScaleAttention(WIDTH, WIDTH, size, HEADS, has_cls_token=False, residual_pooling=residual, **kernels)
    return Between(module, args=(list(size),))


def _biased() -> Between:
    """A bias for each head that a small network makes (MaxViT-rmlp)."""
    bias = partial(RelPosMlp, window_size=(SIDE, SIDE), hidden_dim=8)
    return Between(AttentionCl(WIDTH, dim_head=DIMS, rel_pos_cls=bias))


ATTENTIONS: dict[str, Callable[[], Between]] = {
    "chunked": lambda: Between(Chunked()),
    "among the samples": lambda: Between(AmongSamples()),
    "places (SAM)": lambda: Between(Places()),
    "of other tokens": lambda: Between(OfOther()),
    "padded": lambda: Between(Padded()),
    "learned queries": lambda: Between(LearnedQueries()),
    "linear": lambda: Between(Linear()),
    **{f"grouped, {way}": partial(lambda way: Between(Grouped(way)), way) for way in WAYS},
    "biased by a network": _biased,
    "talking heads": lambda: Between(TalkingHeadAttn(WIDTH, HEADS)),
    "many queries": lambda: Between(MultiQueryAttention2d(WIDTH, WIDTH, HEADS, 6, value_dim=DIMS, kv_stride=2), True),
    "pooled": lambda: _pooled(residual=False),
    "pooled with its queries": lambda: _pooled(residual=True),
    "channels (EdgeNeXt)": lambda: Between(CrossCovarianceAttn(WIDTH, HEADS)),
    "channels (XCiT)": lambda: Between(XCA(WIDTH, HEADS)),
    "channels (DaViT)": lambda: Between(ChannelAttention(WIDTH, HEADS)),
    "channels (DaViT 2)": lambda: Between(ChannelAttentionV2(WIDTH, HEADS)),
    "several kernels": lambda: Between(Kernels()),
    "several scales": lambda: Between(LiteMLA(WIDTH, WIDTH, heads=HEADS, dim=3), True),
    "several scales of wide heads": lambda: Between(LiteMLA(WIDTH, WIDTH, heads=HEADS, dim=16), True),
}


def made(name: str) -> Between:
    """The attention of that name with seeded weights, none of them zero."""
    torch.manual_seed(0)
    model = ATTENTIONS[name]().eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model


class ScoresDetached(TorchFunctionMode):
    """While it is open, no gradient reaches what only the scores of attention are made of."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            q, k, v = args[:3]
            mask = kwargs.get("attn_mask")
            return func(q.detach(), k.detach(), v, attn_mask=None if mask is None else mask.detach())
        found = func(*args, **kwargs)
        return found.detach() if getattr(func, "__name__", "") == "softmax" else found
