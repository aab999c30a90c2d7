"""A small model of two towers that takes several inputs by keyword and returns a nest of them in a dataclass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class Matched:
    image: Tensor
    text: dict[str, Tensor]
    similarity: Tensor
    note: str | None = None


class Towers(nn.Module):
    """Images `[B, 3, 16, 16]` and words `[B, 5]` in, both as vectors and their product out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 24, 3, 2, 1))
        self.image = nn.Linear(24, 12)
        self.tokens = nn.Embedding(30, 16)
        self.up = nn.Linear(16, 32)
        self.text = nn.Linear(32, 12)

    def forward(self, pixels: Tensor, *, ids: Tensor, mask: Tensor, scale: Any = None, gain: float = 1.0) -> Matched:
        image = self.image(self.conv(pixels).relu().mean((2, 3)))
        hidden = self.up(self.tokens(ids)).relu() * mask[..., None]
        text = self.text(hidden.sum(1) / mask.sum(1, keepdim=True))
        return Matched(image, {"text": text}, (image * text).sum(1) * scale[0] * gain)


def towers() -> Towers:
    """The model, the same every time."""
    torch.manual_seed(0)
    return Towers().eval()


def towers_inputs(batch: int = 2) -> dict[str, Any]:
    """Inputs for it: pictures, words, a mask with nothing masked, a number in a list, and a plain number."""
    draw = torch.Generator().manual_seed(batch)
    return {
        "pixels": torch.randn(batch, 3, 16, 16, generator=draw),
        "ids": torch.randint(1, 30, (batch, 5), generator=draw),
        "mask": torch.ones(batch, 5, dtype=torch.int64),
        "scale": [torch.tensor(2.0)],
        "gain": 0.5,
    }
