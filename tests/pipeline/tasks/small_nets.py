"""Models that timm does not make, and the functions that a recipe names for them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CELL = 4
"""The detector's stride."""


def block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """A convolution with its normalisation and activation."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class Unet(nn.Module):
    """Down once, up once, with a skip connection."""

    def __init__(self, classes: int = 3, width: int = 8) -> None:
        super().__init__()
        self.enter, self.down = block(3, width), block(width, 2 * width, 2)
        self.up, self.head = block(3 * width, width), nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits `[B, classes, H, W]`."""
        high = self.enter(x)
        low = F.interpolate(self.down(high), scale_factor=2.0, mode="nearest")
        logits: Tensor = self.head(self.up(torch.cat([low, high], 1)))
        return logits


class Detector(nn.Module):
    """For each cell the logits of classes, and the distances of a box's sides from its middle."""

    def __init__(self, classes: int = 2, width: int = 8) -> None:
        super().__init__()
        self.trunk = nn.Sequential(block(3, width, 2), block(width, 2 * width, 2))
        self.classes, self.sides = nn.Conv2d(2 * width, classes, 1), nn.Conv2d(2 * width, 4, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """`classes` `[B, classes, h, w]` and `sides` `[B, 4, h, w]`."""
        features = self.trunk(x)
        return {"classes": self.classes(features), "sides": self.sides(features)}


def unet(classes: int = 3) -> nn.Module:
    """The segmenter with seeded weights."""
    torch.manual_seed(0)
    return Unet(classes)


def detector() -> nn.Module:
    """The detector with seeded weights."""
    torch.manual_seed(0)
    return Detector()


def middles(like: Tensor) -> Tensor:
    """The middles `[2, h, w]` (x, y) of a map's cells in pixels."""
    rows, columns = (torch.arange(size, device=like.device) * CELL + CELL / 2 for size in like.shape[-2:])
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"))


def decode(outputs: dict[str, Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
    """The boxes of the ten surest cells of each image."""
    chances, numbers = outputs["classes"].sigmoid().max(1)
    x, y = middles(chances)
    left, top, right, bottom = (outputs["sides"].abs()[:, side] for side in range(4))
    boxes = torch.stack([x - left, y - top, x + right, y + bottom], -1).flatten(1, 2)
    scores, places = chances.flatten(1).topk(10)
    return [(boxes[i][places[i]], scores[i], numbers.flatten(1)[i][places[i]]) for i in range(len(boxes))]


def detection_loss(outputs: dict[str, Tensor], labels: Tensor) -> Tensor:
    """The cross-entropy of the cells' classes, a cell being of the box that holds its middle; for each image."""
    x, y = middles(outputs["classes"])
    wanted = torch.zeros_like(outputs["classes"])
    for number in range(wanted.shape[1]):
        for image in range(len(labels)):
            for _, left, top, right, bottom, _ in labels[image][labels[image][:, 0] == number].tolist():
                wanted[image, number][(x > left) & (x < right) & (y > top) & (y < bottom)] = 1
    return F.binary_cross_entropy_with_logits(outputs["classes"], wanted, reduction="none").mean((1, 2, 3))


def mean_error(outputs: Tensor, labels: Tensor) -> Tensor:
    """One number for the batch."""
    return (outputs - labels).abs().mean()


def worst_error(outputs: Tensor, labels: Tensor) -> float:
    """The largest error of all images."""
    return float((outputs - labels).abs().max())


def nothing(*_: Any) -> None:
    """What no task can use."""


NUMBER = 3
