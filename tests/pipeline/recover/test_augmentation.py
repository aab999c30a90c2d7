"""Augmented views: decided by the seed, the epoch and the image alone, and honest about what they show."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from secateur.pipeline.data.images import ArrayImages
from secateur.pipeline.data.transform import Transform
from secateur.pipeline.recover.augmentation import Views, seeded
from secateur.pipeline.recover.spec import DistillSpec
from tests.pipeline.recover.test_distill import TRANSFORM, pictures


def test_mixed_views_say_how_much_of_them_shows_each_class() -> None:
    """Black images of one class and white ones of another: the mean of a view's pixels is the share of the second."""
    labels = np.arange(20) % 2
    pixels = (255 * labels[:, None, None, None] * np.ones((1, 16, 16, 3))).astype(np.uint8)
    plain = Transform((3, 16, 16), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    views = Views(ArrayImages(pixels, labels, ("black", "white")), plain, DistillSpec(mix=1.0, scale=1.0), 0)
    shares = []
    for index in range(20):
        view, shown = views[0, index]
        torch.testing.assert_close(torch.stack([1 - view.mean(), view.mean()]), shown, atol=1e-5, rtol=0)
        shares.append(round(float(shown[1]), 3))
    assert len(set(shares) - {0.0, 1.0}) > 5
    alone = Views(ArrayImages(pixels, labels, ("black", "white")), plain, DistillSpec(mix=0.0), 0)
    assert [alone[0, index][1].tolist() for index in (0, 1)] == [[1, 0], [0, 1]]


def test_views_depend_on_seed_epoch_and_image_only() -> None:
    views = Views(pictures(), TRANSFORM, DistillSpec(mix=1.0), 0)
    one, _ = views[1, 5]
    state = torch.get_rng_state()
    torch.testing.assert_close(views[1, 5][0], one)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(views[2, 5][0], one)
    assert not torch.equal(views[1, 6][0], one)
    assert not torch.equal(Views(pictures(), TRANSFORM, DistillSpec(mix=1.0), 1)[1, 5][0], one)
    assert one.shape == (3, 16, 16)


def test_without_augmentation_a_view_is_the_picture_and_its_class() -> None:
    images = pictures(4)
    plain = DistillSpec(mix=0.0, scale=1.0, flip=0.0)
    view, shown = Views(images, TRANSFORM, plain, 0)[3, 2]
    assert (view.shape, shown.tolist()) == ((3, 16, 16), [1.0])
    pixels = torch.from_numpy(images.pixels[2]).permute(2, 0, 1) / 255 * 2 - 1
    coarse = [torch.nn.functional.adaptive_avg_pool2d(part[None], 2)[0] for part in (view, pixels)]
    torch.testing.assert_close(*coarse, atol=0.25, rtol=0)  # a crop keeps most of the picture in its place
    assert len(Views(images, TRANSFORM, plain, 0)) == 4


def test_grey_models_see_grey_views() -> None:
    transform = Transform((1, 16, 16), (0.5,), (0.5,))
    assert Views(pictures(2), transform, DistillSpec(), 0)[0, 0][0].shape == (1, 16, 16)


def test_seeded_draws_are_the_same_and_nobody_notices() -> None:
    def drawn() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # type: ignore[union-attr]
    found = []
    for _ in range(2):
        with seeded(5):
            found.append(drawn())
    with pytest.raises(KeyError), seeded(5):
        raise KeyError
    assert found[0] == found[1]
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]  # type: ignore[union-attr]  # the classic generator's state
    assert torch.equal(torch.get_rng_state(), before[2])
