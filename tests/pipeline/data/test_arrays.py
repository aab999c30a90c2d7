"""Archives and arrays: the accepted layouts and types, and the refused ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from secateur.core.errors import DataError
from secateur.pipeline.data.arrays import array_images
from tests.pipeline.data.sources import pixels

RGB, GREY = pixels(4), pixels(4, channels=1)
LABELS = np.array([0, 1, 2, 1])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (RGB, RGB),
        (RGB.transpose(0, 3, 1, 2), RGB),
        (GREY, GREY),
        (GREY[..., None], GREY),
        (GREY[:, None], GREY),
        (GREY.astype(np.int64), GREY),
        (GREY.astype(np.float32) / 255, GREY),
    ],
)
def test_layouts_and_types_give_the_same_bytes(given: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> None:
    images = array_images(given, LABELS, "x")
    assert np.array_equal(images.pixels, expected)
    assert np.array_equal(np.asarray(images.read(2)), expected[2])


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (RGB, LABELS[:3], r"4 images, but labels of the shape \[3\]"),
        (RGB, LABELS[:, None], "one label an image"),
        (RGB[:0], LABELS[:0], "holds no images"),
        (RGB, LABELS - 1, "has the label -1"),
        (RGB, LABELS.astype(float), "labels of the type float64"),
        (RGB[..., :2], LABELS, r"shape \[4, 8, 8, 2\]"),
        (GREY[0], LABELS.repeat(2), r"shape \[8, 8\]"),
        (GREY.astype(float), LABELS, "float64 pixels from"),
        (np.full((4, 2, 2), np.nan), LABELS, "float64 pixels from nan"),
        (GREY.astype(np.int16) + 200, LABELS, "int16 pixels from"),
    ],
)
def test_what_does_not_fit_is_one_sentence(images: Any, labels: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        array_images(images, labels, "x")
