"""Preprocessing: timm's own where the image is larger than the input, the whole image where it is not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform

from secateur.pipeline.data.transform import Transform
from tests.pipeline.data.sources import pixels

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.mark.parametrize("size", [(300, 260), (227, 227), (500, 225), (224, 400)])
@pytest.mark.parametrize("crop_pct", [0.875, 0.9, 1.0])
def test_larger_images_go_through_timms_own_transform(size: tuple[int, int], crop_pct: float) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8))
    ours = Transform((3, 224, 224), MEAN, STD, "bicubic", crop_pct)(image)
    timms = create_transform(
        (3, 224, 224), is_training=False, interpolation="bicubic", mean=MEAN, std=STD, crop_pct=crop_pct
    )(image)
    assert ours.shape == (3, 224, 224)
    assert torch.equal(ours, timms)


@pytest.mark.parametrize("side", [8, 28, 32])
def test_an_image_of_the_input_size_is_only_normalised(side: int) -> None:
    image = pixels(1, side)[0]
    made = Transform((3, side, side), MEAN, STD, crop_pct=0.875)(Image.fromarray(image))
    expected = (torch.from_numpy(image).permute(2, 0, 1) / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[
        :, None, None
    ]
    assert torch.allclose(made, expected, atol=1e-6)


def test_a_smaller_image_is_scaled_up_whole() -> None:
    image = np.zeros((4, 4), dtype=np.uint8)
    image[0, 0] = 255  # a corner that a crop of 0.5 would lose
    made = Transform((1, 16, 16), (0.0,), (1.0,), "nearest", 0.5)(Image.fromarray(image))
    assert torch.equal(made[0, :4, :4], torch.ones(4, 4))
    assert made.sum() == 16


def test_channels_follow_the_shape() -> None:
    grey, colour = Image.fromarray(pixels(1, 8, 1)[0]), Image.fromarray(pixels(1, 8)[0])
    for image in (grey, colour, colour.convert("RGBA"), grey.convert("P")):
        one = Transform((1, 8, 8), (0.5,), (0.5,))(image)
        three = Transform((3, 8, 8), MEAN, STD)(image)
        assert (one.shape, three.shape) == ((1, 8, 8), (3, 8, 8))
        assert one.dtype == three.dtype == torch.float32


def test_an_input_that_is_not_square_is_filled() -> None:
    made = Transform((3, 32, 64), MEAN, STD)(Image.fromarray(pixels(1, 100)[0]))
    assert made.shape == (3, 32, 64)
    assert Transform((3, 32, 64), MEAN, STD)(Image.fromarray(pixels(1, 20)[0])).shape == (3, 32, 64)
