"""Pictures of discs, squares and triangles with masks and boxes, and two small models of them, for `beyond_classes`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torchvision.ops import batched_nms

SIZE, STRIDE = 48, 4
SHAPES = ("disc", "square", "triangle")
Box = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels."""
SHARPNESS, SURE = 2.0, 0.05
"""The exponent of the focal loss; boxes of a lower score are not looked at."""


class Unet(nn.Module):
    """A U-Net of two levels: logits `[B, classes, H, W]`."""

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.enter, self.down = _pair(3, width), _pair(width, 2 * width)
        self.bottom = _pair(2 * width, 4 * width)
        self.up, self.leave = _pair(6 * width, 2 * width), _pair(3 * width, width)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        high = self.enter(x)
        middle = self.down(F.max_pool2d(high, 2))
        low = self.bottom(F.max_pool2d(middle, 2))
        middle = self.up(torch.cat([F.interpolate(low, scale_factor=2.0), middle], 1))
        logits: Tensor = self.head(self.leave(torch.cat([F.interpolate(middle, scale_factor=2.0), high], 1)))
        return logits


class Detector(nn.Module):
    """A detector without anchors: for each cell logits of the classes, and how far a box reaches to its four sides.

    One map `[B, classes + 4, h, w]`; distances are in strides, before `softplus`.
    """

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            _layer(3, width, 2), _layer(width, 2 * width, 2), _layer(2 * width, 4 * width), _layer(4 * width, 4 * width)
        )
        self.of_classes = nn.Sequential(_layer(4 * width, 2 * width), nn.Conv2d(2 * width, classes, 1))
        self.of_sides = nn.Sequential(_layer(4 * width, 2 * width), nn.Conv2d(2 * width, 4, 1))

    def forward(self, x: Tensor) -> Tensor:
        features = self.trunk(x)
        return torch.cat([self.of_classes(features), self.of_sides(features)], 1)


def unet(width: int = 8) -> nn.Module:
    """The segmenter: background and the shapes."""
    return Unet(1 + len(SHAPES), width)


def detector(width: int = 16) -> nn.Module:
    """The detector of the shapes."""
    return Detector(len(SHAPES), width)


def detection_loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """The loss of each image `[B]`: focal over the cells' classes (RetinaNet), 1 - IoU over the cells of a box (FCOS).

    A cell belongs to the smallest box whose middle third holds its middle.
    """
    wanted, boxes = _wanted(labels, outputs.shape[2], outputs.shape[3])
    logits, inside = outputs[:, : len(SHAPES)].float(), wanted.amax(1) > 0
    chances = logits.sigmoid()
    right = wanted * chances + (1 - wanted) * (1 - chances)
    focal = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none") * (1 - right) ** SHARPNESS
    gaps = (1 - _overlap(_boxes(outputs), boxes)) * inside
    return (focal.sum((1, 2, 3)) + gaps.sum((1, 2))) / inside.sum((1, 2)).clamp_min(1)


def decode(outputs: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Boxes, scores and classes of each image, after the suppression of doubles."""
    scores, numbers = outputs[:, : len(SHAPES)].float().sigmoid().flatten(2).max(1)
    boxes, found = _boxes(outputs).flatten(2).movedim(1, 2), []
    for place in range(len(outputs)):
        sure = scores[place] > SURE
        part = boxes[place][sure], scores[place][sure], numbers[place][sure]
        kept = batched_nms(part[0], part[1], part[2], 0.5)[:20]
        found.append((part[0][kept], part[1][kept], part[2][kept]))
    return found


def write_shapes(folder: Path, count: int, seed: int) -> None:
    """Writes pictures of one to three shapes before a noisy background: `images/`, `masks/` and `boxes.json`."""
    draws = np.random.default_rng(seed)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    (folder / "classes.txt").write_text("\n".join(["background", *SHAPES]))
    annotations: list[dict[str, object]] = []
    listed: list[dict[str, object]] = []
    for number in range(count):
        pixels, mask, boxes = _picture(draws)
        Image.fromarray(pixels).save(folder / "images" / f"{number:04}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{number:04}.png")
        listed.append({"id": number, "file_name": f"{number:04}.png", "width": SIZE, "height": SIZE})
        for shape, (left, top, right, bottom) in boxes:
            box = {"image_id": number, "category_id": shape, "bbox": [left, top, right - left, bottom - top]}
            annotations.append({"id": len(annotations), **box})
    categories = [{"id": number, "name": name} for number, name in enumerate(SHAPES)]
    content = {"images": listed, "categories": categories, "annotations": annotations}
    (folder / "boxes.json").write_text(json.dumps(content))


def _picture(
    draws: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], list[tuple[int, Box]]]:
    """Pixels, the class of each pixel, and shapes with their boxes, of which none covers the middle of another."""
    base = draws.uniform(40, 200, 3) + draws.normal(0, 1, (6, 6, 3)) * 25
    ground = Image.fromarray(base.clip(0, 255).astype(np.uint8)).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    mask = Image.new("L", (SIZE, SIZE))
    boxes: list[tuple[int, Box]] = []
    for _ in range(draws.integers(1, 4)):
        size, shape = draws.uniform(10, 22), int(draws.integers(len(SHAPES)))
        left, top = draws.uniform(0, SIZE - size, 2)
        box = (float(left), float(top), float(left + size), float(top + size))
        if any(min(box[2], b[2]) > max(box[0], b[0]) and min(box[3], b[3]) > max(box[1], b[1]) for _, b in boxes):
            continue
        shades = base.mean((0, 1)) + draws.uniform(45, 110, 3) * _signs(draws)
        colour = tuple(int(value) for value in shades.clip(0, 255))
        for image, fill in ((ground, colour), (mask, 1 + shape)):
            _draw(ImageDraw.Draw(image), shape, box, fill)
        boxes.append((shape, box))
    noisy = np.asarray(ground, dtype=np.float64) + draws.normal(0, 14, (SIZE, SIZE, 3))
    return noisy.clip(0, 255).astype(np.uint8), np.array(mask, dtype=np.uint8), boxes


def _signs(draws: np.random.Generator) -> NDArray[np.float64]:
    return draws.choice([-1.0, 1.0], 3)


def _draw(onto: ImageDraw.ImageDraw, shape: int, box: Box, fill: int | tuple[int, ...]) -> None:
    left, top, right, bottom = box
    if shape == 0:
        onto.ellipse(box, fill=fill)
    elif shape == 1:
        onto.rectangle(box, fill=fill)
    else:
        onto.polygon([(left, bottom), ((left + right) / 2, top), (right, bottom)], fill=fill)


def _layer(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _pair(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(_layer(inputs, outputs), _layer(outputs, outputs))


def _middles(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The middles (x, y) of a map's cells in pixels, `[h, w]` each."""
    rows, columns = ((torch.arange(size, device=device) + 0.5) * STRIDE for size in (height, width))
    x, y = torch.meshgrid(columns, rows, indexing="xy")
    return x, y


def _boxes(outputs: Tensor) -> Tensor:
    """The boxes `[B, 4, h, w]` of all cells in pixels."""
    x, y = _middles(outputs.shape[2], outputs.shape[3], outputs.device)
    left, top, right, bottom = (STRIDE * F.softplus(outputs[:, len(SHAPES) :].float())).unbind(1)
    return torch.stack([x - left, y - top, x + right, y + bottom], 1)


def _wanted(labels: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """The classes `[B, classes, h, w]` and the boxes `[B, 4, h, w]` that the cells should give."""
    x, y = _middles(height, width, labels.device)
    numbers, left, top, right, bottom = (labels[..., i, None, None] for i in range(5))  # [B, most, 1, 1]
    across, down = (right - left) / 3, (bottom - top) / 3
    inside = (x > left + across) & (x < right - across) & (y > top + down) & (y < bottom - down) & (numbers >= 0)
    size = torch.where(inside, (right - left) * (bottom - top), torch.inf)
    smallest = size.argmin(1)
    held = inside.any(1)
    number = labels[..., 0].gather(1, smallest.flatten(1)).reshape(smallest.shape).long()
    wanted = F.one_hot(number.clamp_min(0), len(SHAPES)).movedim(3, 1) * held[:, None]
    places = smallest.flatten(1)[..., None].expand(-1, -1, 4)
    boxes = labels[..., 1:5].gather(1, places).movedim(1, 2).reshape(len(labels), 4, height, width)
    return wanted.to(labels), boxes


def _overlap(one: Tensor, other: Tensor) -> Tensor:
    """The intersection over union `[B, h, w]` of boxes `[B, 4, h, w]`."""
    low, high = torch.maximum(one[:, :2], other[:, :2]), torch.minimum(one[:, 2:], other[:, 2:])
    common = (high - low).clamp_min(0).prod(1)
    sizes = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (one, other)]
    return common / (sizes[0] + sizes[1] - common).clamp_min(1e-6)
