"""Models with real weights: their images, and what is left of one with half of its multiply-accumulates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from secateur_studies.trained_models import Joined, Trained, halved, ten_classes
from torch import nn

from secateur.benchmarks.flops import count_macs


def test_half_of_the_multiply_accumulates_are_left() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.Flatten(), nn.Linear(256, 4)).eval()
    images = [(torch.randn(8, 3, 8, 8), torch.arange(8) % 4) for _ in range(2)]
    small = halved(Trained(model, (3, 8, 8), images, images, images, images))
    example = torch.zeros(1, 3, 8, 8)
    assert 0.3 < count_macs(small, example).macs / count_macs(model, example).macs <= 0.5


def test_ten_classes_have_the_numbers_of_all(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for side in ("train", "val"):
        for name in ("n01440764", "n03888257"):
            (tmp_path / side / name).mkdir(parents=True)
            pixels = generator.integers(255, size=(16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / side / name / "one.png")
    model = timm.create_model("vit_tiny_patch16_224", img_size=16, patch_size=4, depth=1, num_classes=1000)
    for _ in range(2):
        assert [labels.tolist() for _, labels in ten_classes(model, tmp_path)] == [[0, 701], [0, 701]]


def test_batches_of_two_sources_come_as_often_as_they_are_asked() -> None:
    one, two = [(torch.zeros(1), torch.zeros(1))], [(torch.ones(1), torch.ones(1))]
    joined = Joined((one, two))
    assert [float(x) for x, _ in joined] == [float(x) for x, _ in joined] == [0, 1]
