"""Pieces of networks as people write them, each from `[B, width, H, W]` to the same shape, and networks of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.utils.checkpoint import checkpoint

HEADS, DIM = 2, 4
INNER = HEADS * DIM


def tokens_of(x: Tensor) -> Tensor:
    """`[B, C, H, W]` as tokens `[B, H W, C]`."""
    return x.flatten(2).mT


def image_of(tokens: Tensor, x: Tensor) -> Tensor:
    """Tokens as an image of the size of `x`."""
    return tokens.mT.reshape(len(x), -1, *x.shape[2:])


class Tokens(nn.Module):
    """A residual branch over tokens; subclasses write `mix` from `[B, N, width]` to itself."""

    def forward(self, x: Tensor) -> Tensor:
        """Images in and out."""
        return x + image_of(self.mix(tokens_of(x)), x)

    def mix(self, x: Tensor) -> Tensor:
        """Tokens in and out."""
        raise NotImplementedError


class SeparateHeads(Tokens):
    """Attention with separate projections, a scale of its own and an additive bias for each head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(width, INNER) for _ in range(3))
        self.out, self.scale = nn.Linear(INNER, width), DIM**-0.5

    def split(self, x: Tensor) -> Tensor:
        """`[B, N, heads * dim]` as `[B, heads, N, dim]`."""
        return x.view(x.shape[0], x.shape[1], HEADS, DIM).transpose(1, 2)

    def mix(self, x: Tensor) -> Tensor:
        """Tokens in and out."""
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        found: Tensor = self.out(((q @ k.mT * self.scale).softmax(-1) @ v).transpose(1, 2).flatten(2))
        return found


class FusedHeads(SeparateHeads):
    """The same through PyTorch's fused attention."""

    def mix(self, x: Tensor) -> Tensor:
        """Tokens in and out."""
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        mixed = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        found: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return found


class NormedHeads(SeparateHeads):
    """Queries and keys normalised per head, with learned scales."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.q_norm, self.k_norm = nn.LayerNorm(DIM), nn.LayerNorm(DIM)

    def mix(self, x: Tensor) -> Tensor:
        """Tokens in and out."""
        q, k, v = self.q_norm(self.split(self.q(x))), self.k_norm(self.split(self.k(x))), self.split(self.v(x))
        found: Tensor = self.out(((q @ k.mT * self.scale).softmax(-1) @ v).transpose(1, 2).flatten(2))
        return found


class CosineHeads(SeparateHeads):
    """Cosine attention with a learned temperature for each head, as in Swin V2."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.temperature = nn.Parameter(torch.rand(HEADS, 1, 1) + 1)

    def mix(self, x: Tensor) -> Tensor:
        """Tokens in and out."""
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        logits = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT * self.temperature.exp()
        found: Tensor = self.out((logits.softmax(-1) @ v).transpose(1, 2).flatten(2))
        return found


class RotaryHeads(SeparateHeads):
    """Queries and keys rotated by their position, halves of a head paired."""

    def rotate(self, x: Tensor) -> Tensor:
        """`[B, heads, N, dim]` in and out."""
        position = torch.arange(x.shape[2], device=x.device, dtype=x.dtype)[:, None]
        angle = position * 10.0 ** -torch.arange(DIM // 2, device=x.device, dtype=x.dtype)
        sine, cosine = torch.cat([angle.sin()] * 2, -1), torch.cat([angle.cos()] * 2, -1)
        one, two = x.chunk(2, -1)
        return x * cosine + torch.cat([-two, one], -1) * sine

    def mix(self, x: Tensor) -> Tensor:
        """Tokens in and out."""
        q, k, v = self.rotate(self.split(self.q(x))), self.rotate(self.split(self.k(x))), self.split(self.v(x))
        found: Tensor = self.out(((q @ k.mT * self.scale).softmax(-1) @ v).transpose(1, 2).flatten(2))
        return found


class GroupedQueries(Tokens):
    """Two queries share one key and one value head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q, self.kv, self.out = nn.Linear(width, 4 * DIM), nn.Linear(width, 2 * INNER), nn.Linear(4 * DIM, width)

    def mix(self, x: Tensor) -> Tensor:
        """Tokens in and out."""
        b, n, _ = x.shape
        q = self.q(x).view(b, n, 4, DIM).transpose(1, 2)
        k, v = self.kv(x).view(b, n, 2, HEADS, DIM).permute(2, 0, 3, 1, 4)
        k, v = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
        found: Tensor = self.out(((q @ k.mT).softmax(-1) @ v).transpose(1, 2).reshape(b, n, -1))
        return found


class LinearAttention(SeparateHeads):
    """Keys and values contracted first: softmax over queries' dimensions and keys' tokens."""

    def mix(self, x: Tensor) -> Tensor:
        """Tokens in and out."""
        q, k, v = self.split(self.q(x)).relu(), self.split(self.k(x)).softmax(2), self.split(self.v(x))
        found: Tensor = self.out((q @ (k.mT @ v)).transpose(1, 2).flatten(2))
        return found


class ChannelAttention(SeparateHeads):
    """Attention between the dimensions of a head, as in XCiT and DaViT."""

    def mix(self, x: Tensor) -> Tensor:
        """Tokens in and out."""
        q, k, v = self.split(self.q(x)).mT, self.split(self.k(x)).mT, self.split(self.v(x)).mT
        found: Tensor = self.out(((q @ k.mT * self.scale).softmax(-1) @ v).mT.transpose(1, 2).flatten(2))
        return found


class TorchAttention(Tokens):
    """PyTorch's own attention."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, HEADS, batch_first=True)

    def mix(self, x: Tensor) -> Tensor:
        """Tokens in and out."""
        found: Tensor = self.attention(x, x, x, need_weights=False)[0]
        return found


class TorchLayer(Tokens):
    """PyTorch's own transformer layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(width, HEADS, 12, 0.0, batch_first=True)

    def mix(self, x: Tensor) -> Tensor:
        """Tokens in and out."""
        found: Tensor = self.layer(x)
        return found


class Gated(Tokens):
    """A SwiGLU whose two halves are one layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.both, self.out = nn.Linear(width, 20), nn.Linear(10, width)

    def mix(self, x: Tensor) -> Tensor:
        """Tokens in and out."""
        one, two = self.both(x).chunk(2, -1)
        found: Tensor = self.out(F.silu(one) * two)
        return found


class Recurrent(Tokens):
    """A recurrent layer over the tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer, self.out = nn.GRU(width, 8, batch_first=True), nn.Linear(8, width)

    def mix(self, x: Tensor) -> Tensor:
        """Tokens in and out."""
        found: Tensor = self.out(self.layer(x)[0])
        return found


class Einsum(Tokens):
    """An MLP written with `einsum` on bare parameters."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up, self.down = (nn.Parameter(torch.randn(*shape) * 0.3) for shape in ((width, 10), (10, width)))

    def mix(self, x: Tensor) -> Tensor:
        """Tokens in and out."""
        return torch.einsum("bnh,hw->bnw", torch.einsum("bnw,wh->bnh", x, self.up).relu(), self.down)


class Functional(Tokens):
    """An MLP whose weights are used through `F.linear` and a product."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up, self.down = (nn.Parameter(torch.randn(*shape) * 0.3) for shape in ((10, width), (10, width)))

    def mix(self, x: Tensor) -> Tensor:
        """Tokens in and out."""
        return F.gelu(F.linear(x, self.up)) @ self.down


class ChannelsFirst(nn.Module):
    """A layer normalisation over channels that is written out, and a scaled branch, as in ConvNeXt."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.rand(width) + 0.5), nn.Parameter(torch.randn(width))
        self.deep, self.up, self.down = nn.Conv2d(width, width, 3, 1, 1, groups=width), *self.pair(width)
        self.gamma = nn.Parameter(torch.full((width, 1, 1), 1e-6))

    @staticmethod
    def pair(width: int) -> tuple[nn.Module, nn.Module]:
        """The two pointwise layers."""
        return nn.Conv2d(width, 14, 1), nn.Conv2d(14, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Images in and out."""
        y = self.deep(x)
        mean = y.mean(1, keepdim=True)
        y = (y - mean) / ((y - mean).pow(2).mean(1, keepdim=True) + 1e-6).sqrt()
        y = y * self.weight[:, None, None] + self.bias[:, None, None]
        found: Tensor = x + self.gamma * self.down(F.gelu(self.up(y)))
        return found


class FrozenNorm(nn.Module):
    """Batch normalisation whose numbers are all buffers, as in detection backbones."""

    weight: Tensor
    bias: Tensor
    mean: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(width, 12, 1, bias=False), nn.Conv2d(12, width, 1)
        for name in ("weight", "bias", "mean"):
            self.register_buffer(name, torch.rand(12) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Images in and out."""
        scale = self.weight.view(1, -1, 1, 1)
        y = self.one(x) * scale + (self.bias - self.mean).view(1, -1, 1, 1)
        found: Tensor = x + self.two(y.relu())
        return found


class Parametrised(nn.Module):
    """Weight normalisation, spectral normalisation and a mask of `torch.nn.utils.prune`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one = parametrizations.weight_norm(nn.Conv2d(width, 12, 1))
        self.two = parametrizations.spectral_norm(nn.Conv2d(12, 12, 3, 1, 1))
        self.three = nn.Conv2d(12, width, 1)
        prune.l1_unstructured(self.three, "weight", 0.3)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor) -> Tensor:
        """Images in and out."""
        found: Tensor = self.three(self.two(self.one(x).relu()).relu())
        return found


class Standardised(nn.Module):
    """A convolution whose weight is standardised when it is used."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(width, 12, 3, 1, 1), nn.Conv2d(12, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Images in and out."""
        weight = self.one.weight
        weight = weight - weight.mean((1, 2, 3), keepdim=True)
        weight = weight / (weight.std((1, 2, 3), keepdim=True) + 1e-5)
        found: Tensor = self.two(F.conv2d(x, weight, self.one.bias, padding=1).relu())
        return found


class Shared(nn.Module):
    """One layer called twice, and one weight tied to two layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(width, 10, 1), nn.Conv2d(10, width, 1)
        self.twin = nn.Conv2d(width, 10, 1)
        self.twin.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        """Images in and out."""
        found: Tensor = self.two(self.one(x).relu()) + self.two(self.one(-x).relu() * self.twin(x).sigmoid())
        return found


class Stored(nn.Module):
    """Keeps what it computed as an attribute, and reads its parent's kin by it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(width, 12, 1), nn.Conv2d(12, width, 1)
        self.last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Images in and out."""
        self.last = self.one(x).relu()
        found: Tensor = self.two(self.last)
        return found


class Pair(NamedTuple):
    """Two maps."""

    one: Tensor
    two: Tensor


@dataclass
class Box:
    """A map in a dataclass."""

    value: Tensor


class Halves(nn.Module):
    """Returns a NamedTuple, takes keyword arguments, and repeats a width in its code."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.width = nn.Conv2d(width, 16, 1), 16

    def forward(self, x: Tensor, *, sign: float = 1.0, **options: Any) -> Pair:
        """Two halves of the channels."""
        y = self.one(x).view(len(x), 2, self.width // 2, *x.shape[2:])
        return Pair(y[:, 0] * sign, y[:, 1])


class Nested(nn.Module):
    """Passes a NamedTuple and keyword arguments between modules, and reads an attribute of another."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.halves = Halves(width)
        self.out = nn.Conv2d(self.halves.width // 2, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Images in and out."""
        one, two = self.halves(x, sign=-1.0, unused=None)
        found: Tensor = self.out(one * two.sigmoid())
        return found


class PixelAttention(nn.Module):
    """Attention with dimensions before tokens, as in YOLOv10, with a position branch on the values."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Conv2d(width, 2 * (2 * 3 + 6), 1), nn.Conv2d(12, width, 1)
        self.position = nn.Conv2d(12, 12, 3, 1, 1, groups=12)

    def forward(self, x: Tensor) -> Tensor:
        """Images in and out."""
        b, _, h, w = x.shape
        q, k, v = self.qkv(x).view(b, 2, 12, h * w).split([3, 3, 6], 2)
        mixed = (v @ (q.mT @ k * 3**-0.5).softmax(-1).mT).view(b, -1, h, w)
        found: Tensor = x + self.proj(mixed + self.position(v.reshape(b, -1, h, w)))
        return found


class Shuffle(nn.Module):
    """Channels shuffled between groups, as in ShuffleNet."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(width, 16, 1, groups=2), nn.Conv2d(16, width, 1, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        """Images in and out."""
        y = self.one(x)
        y = y.view(len(y), 2, -1, *y.shape[2:]).transpose(1, 2).flatten(1, 2)
        found: Tensor = self.two(y.relu())
        return found


class Pyramid(nn.Module):
    """Pooled, upsampled and joined."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(width, 10, 1), nn.Conv2d(20 + width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Images in and out."""
        y = self.one(x)
        up = F.interpolate(F.avg_pool2d(y, 2), size=x.shape[2:], mode="bilinear", align_corners=False)
        found: Tensor = self.two(torch.cat([y, up, x], 1))
        return found


class Selected(nn.Module):
    """Sorts channels, takes the largest, and softmaxes over channels: nothing may go there."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two, self.three = nn.Conv2d(width, 12, 1), nn.Conv2d(4, 9, 1), nn.Conv2d(9, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Images in and out."""
        found: Tensor = self.three(self.two(self.one(x).topk(4, 1).values).softmax(1))
        return found


class Fourier(nn.Module):
    """A transform over space, of which no rule speaks."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(width, 8, 1), nn.Conv2d(8, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Images in and out."""
        found: Tensor = self.two(torch.fft.fft(self.one(x), dim=-1).real)
        return found


class Checkpointed(nn.Module):
    """Recomputed in the backward pass."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(width, 12, 1), nn.ReLU(), nn.Conv2d(12, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Images in and out."""
        found: Tensor = checkpoint(self.body, x, use_reentrant=False)
        return x + found


class TrainOnly(nn.Module):
    """A branch that runs in training alone."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two, self.extra = nn.Conv2d(width, 12, 1), nn.Conv2d(12, width, 1), nn.Conv2d(12, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Images in and out."""
        y = self.one(x).relu()
        found: Tensor = self.two(y) + self.extra(y) if self.training else self.two(y)
        return found


class Asking(nn.Module):
    """Decides by the values that it sees: cannot be traced."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Images in and out."""
        found: Tensor = self.one(x) if x.mean() > 0 else x
        return found


class Boxed(nn.Module):
    """A dataclass between two modules, and a width asked for with `len` and `size`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(width, 12, 1), nn.Conv2d(12, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Images in and out."""
        box = Box(self.one(x))
        y = box.value.reshape(x.size(0), box.value.size(1), -1)
        found: Tensor = self.two(y.view(len(x), -1, x.size(2), x.size(3)) / math.sqrt(12))
        return found


class Normed(nn.Module):
    """Group, instance and batch normalisations between convolutions of few groups."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, 12, 1),
            nn.GroupNorm(3, 12),
            nn.Conv2d(12, 12, 3, 1, 1, groups=3),
            nn.InstanceNorm2d(12, affine=True),
            nn.PReLU(12),
            nn.ConvTranspose2d(12, 8, 1),
            nn.BatchNorm2d(8),
            nn.Conv2d(8, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Images in and out."""
        found: Tensor = x + self.body(x)
        return found


PIECES: tuple[Callable[[int], nn.Module], ...] = (
    *(SeparateHeads, FusedHeads, NormedHeads, CosineHeads, RotaryHeads, GroupedQueries, LinearAttention),
    *(ChannelAttention, TorchAttention, TorchLayer, Gated, Recurrent, Einsum, Functional, ChannelsFirst, FrozenNorm),
    *(Parametrised, Standardised, Shared, Stored, Nested, PixelAttention, Shuffle, Pyramid, Selected, Fourier),
    *(Checkpointed, TrainOnly, Asking, Boxed, Normed),
)
"""What networks are made of; of `Asking` alone it is expected that it is refused."""
WRAPPERS = ("plain", "wrapped", "dictionary", "tuple", "pair", "keywords")


class RandomNet(nn.Module):
    """A stem, pieces and a classifier, called and answering in one of `WRAPPERS`' ways."""

    def __init__(self, pieces: Sequence[int], width: int, way: str) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 1, 1), nn.BatchNorm2d(width), nn.ReLU())
        self.pieces = nn.ModuleList(PIECES[index](width) for index in pieces)
        self.head = nn.Linear(width, 5)
        self.way = way
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean = torch.randn(module.num_features)
                module.running_var = torch.rand(module.num_features) + 0.5

    def features(self, x: Tensor) -> Tensor:
        """The last maps `[B, width, H, W]`."""
        x = self.stem(x)
        for piece in self.pieces:
            x = piece(x)
        return x

    def forward(self, x: Tensor, other: Tensor | None = None) -> Any:
        """Logits `[B, 5]`, alone or with features."""
        features = self.features(x)
        if other is not None:
            features = features - self.features(other)
        logits = self.head(features.mean((2, 3)))
        if self.way == "dictionary":
            return {"logits": logits, "features": features}
        return (logits, [features]) if self.way == "tuple" else logits


class Wrapped(nn.Module):
    """One more module around a model."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Any:
        """What the inner model returns."""
        return self.inner(x)


def random_network(draw: Any) -> tuple[nn.Module, Any, str]:
    """A network, an example of its inputs, and what it is, all drawn from a `random.Random`."""
    pieces = [draw.randrange(len(PIECES)) for _ in range(draw.randint(1, 3))]
    width, way = draw.choice([8, 12]), draw.choice(WRAPPERS)
    torch.manual_seed(draw.randrange(10**6))
    model: nn.Module = RandomNet(pieces, width, way).eval()
    x = torch.randn(2, 3, 6, 6)
    example: Any = {"pair": (x, x.flip(0)), "keywords": {"x": x, "other": -x}}.get(way, x)
    words = f"{way} {' '.join(getattr(PIECES[index], '__name__', '') for index in pieces)} of width {width}"
    return (Wrapped(model) if way == "wrapped" else model), example, words
