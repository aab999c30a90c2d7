"""From a decoded image to a model's input: resized, cropped and normalised as timm does it for evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from PIL import Image
from timm.data.transforms_factory import transforms_imagenet_eval
from torch import Tensor


@dataclass(frozen=True)
class Transform:
    """A callable from an image to a float32 tensor `[C, H, W]`; its fields are the whole preprocessing.

    `shape` is (C, H, W) with C = 1 (grey) or 3 (RGB); `mean` and `std` hold C numbers on the scale of pixels from 0
    to 1. The image is resized so that the crop takes `crop_pct` of it. An image that is not larger than the input
    is scaled up whole: there is no border to crop away.
    """

    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    crop_pct: float = 0.875
    crop_mode: Literal["center", "squash", "border"] = "center"

    @property
    def whole(self) -> bool:
        """Whether the image is only stretched to the input: every place in it keeps its relative position."""
        return self.crop_mode == "squash" and self.crop_pct == 1

    def __call__(self, image: Image.Image) -> Tensor:
        return self.normalised(self.eight_bits(image))

    def eight_bits(self, image: Image.Image) -> Tensor:
        """The image resized and cropped, `[C, H, W]` uint8: a quarter of what `normalised` makes of it."""
        channels, height, width = self.shape
        mode = "L" if channels == 1 else "RGB"
        if image.mode != mode:
            image = image.convert(mode)
        small = image.width <= width and image.height <= height
        pixels: Tensor = (self._whole if small else self._cropped)(image)
        return pixels

    def normalised(self, pixels: Tensor) -> Tensor:
        """What the model takes, `[..., C, H, W]` float32, of pixels of eight bits; bit for bit what timm makes."""
        mean, std = (torch.tensor(values).reshape(-1, 1, 1) for values in (self.mean, self.std))
        return pixels.float().div_(255).sub_(mean).div_(std)

    @cached_property
    def _cropped(self) -> torch.nn.Module:
        return self._timm(self.crop_pct)

    @cached_property
    def _whole(self) -> torch.nn.Module:
        return self._timm(1.0)

    def _timm(self, crop_pct: float) -> torch.nn.Module:
        made: torch.nn.Module = transforms_imagenet_eval(
            img_size=self.shape[1:],
            crop_pct=crop_pct,
            crop_mode=self.crop_mode,
            interpolation=self.interpolation,
            mean=self.mean,
            std=self.std,
            normalize=False,
        )
        return made
