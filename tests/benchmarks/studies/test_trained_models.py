"""Models with real weights: their images, and what is left of one with half of its multiply-accumulates."""

from __future__ import annotations

import torch
from secateur_studies.trained_models import Trained, halved
from torch import nn

from secateur.benchmarks.flops import count_macs


def test_half_of_the_multiply_accumulates_are_left() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.Flatten(), nn.Linear(256, 4)).eval()
    images = [(torch.randn(8, 3, 8, 8), torch.arange(8) % 4) for _ in range(2)]
    small = halved(Trained(model, (3, 8, 8), images, images, images, images))
    example = torch.zeros(1, 3, 8, 8)
    assert 0.3 < count_macs(small, example).macs / count_macs(model, example).macs <= 0.5
