"""Pictures of fidelity: images, and over them what the dense and the small model rest their answer on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from secateur.pipeline.analysis.fidelity import Example

FOR, AGAINST = (214, 51, 24), (20, 80, 200)
"""The colours of what speaks for the class, and against it."""
SIDE = 224
"""The shorter side of a picture in pixels, where it is smaller than that."""
STRONGEST = 0.75
"""How much of the picture the strongest relevance covers."""
GAP = 6


@dataclass(frozen=True)
class Panels:
    """An example as pictures of one size: the image, and the image under the dense and under the small model's map."""

    image: Image.Image
    dense: Image.Image
    small: Image.Image
    name: str
    cosine: float
    rank: float


def panels_of(example: Example, names: Sequence[str] = ()) -> Panels:
    """The pictures of an example; its class is called by its name, or by its number where `names` has none for it.

    Maps are brought to the size of the image, smoothly, and each is relative to its own largest value.
    """
    pixels = example.image.float()
    pixels = (pixels - pixels.min()) / (pixels.max() - pixels.min()).clamp_min(1e-6)
    height, width = pixels.shape[-2:]
    scale = max(1.0, SIDE / min(height, width))
    size = round(height * scale), round(width * scale)
    picture = F.interpolate(pixels.expand(3, -1, -1)[None], size, mode="nearest")[0].movedim(0, 2).numpy() * 255
    number = example.explained
    dense, small = (_picture(_covered(picture, _values(found, size))) for found in (example.dense, example.small))
    return Panels(
        image=_picture(picture),
        dense=dense,
        small=small,
        name=names[number] if number < len(names) else f"class {number}",
        cosine=example.cosine,
        rank=example.rank,
    )


def sheet(examples: Sequence[Panels]) -> Image.Image:
    """All examples in one picture: a row each, with the image, the dense model's map and the small model's."""
    width = max(3 * one.image.width + 2 * GAP for one in examples)
    page = Image.new("RGB", (width, sum(one.image.height + GAP for one in examples) - GAP), "white")
    top = 0
    for one in examples:
        for place, picture in enumerate((one.image, one.dense, one.small)):
            page.paste(picture, (place * (one.image.width + GAP), top))
        top += one.image.height + GAP
    return page


def _values(found: Tensor, size: tuple[int, int]) -> NDArray[np.float32]:
    """A map `[h, w]` between -1 and 1, in the size of the picture."""
    smooth = F.interpolate(found[None, None].float(), size, mode="bicubic", align_corners=False)[0, 0]
    values: NDArray[np.float32] = (smooth / smooth.abs().max().clamp_min(1e-12)).numpy()
    return values


def _covered(picture: NDArray[np.float32], values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The picture in grey `[H, W, 3]` under the colours of a map `[H, W]`."""
    grey = picture.mean(axis=2, keepdims=True)
    colours = np.where((values > 0)[..., None], np.array(FOR), np.array(AGAINST)).astype(np.float32)
    share = STRONGEST * np.abs(values)[..., None]
    covered: NDArray[np.float32] = (1 - share) * grey + share * colours
    return covered


def _picture(pixels: NDArray[np.float32]) -> Image.Image:
    return Image.fromarray(pixels.clip(0, 255).round().astype(np.uint8))
