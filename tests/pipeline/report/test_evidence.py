"""The pictures of fidelity show the chosen images and both maps over them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from secateur.pipeline.analysis.fidelity import Example
from secateur.pipeline.report.evidence import AGAINST, FOR, GAP, SIDE, STRONGEST, panels_of, sheet

MAP = torch.zeros(14, 14)
MAP[3, 3], MAP[10, 10] = 2.0, -2.0


def example(channels: int = 3, size: int = 28) -> Example:
    return Example(9, 7, torch.randn(channels, size, size), MAP, torch.zeros(14, 14), 0.5, 0.25)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_map_lies_over_the_grey_image_in_the_colours_of_its_signs(channels: int) -> None:
    found = panels_of(example(channels))
    image, dense, small = (np.asarray(one).astype(float) for one in (found.image, found.dense, found.small))
    assert image.shape == dense.shape == (SIDE, SIDE, 3)
    assert (image.min(), image.max()) == (0, 255)
    grey = image.mean(axis=2)
    np.testing.assert_allclose(small, np.repeat(grey[..., None], 3, axis=2), atol=1)  # a map of zeros covers nothing
    for place, colour in ((56, FOR), (168, AGAINST)):  # the middles of the cells (3, 3) and (10, 10), of 16 pixels
        share = STRONGEST
        expected = (1 - share) * grey[place, place] + share * np.array(colour)
        assert np.abs(dense[place, place] - expected).max() < 25
    corner = np.abs(dense[112, 112] - grey[112, 112])
    assert corner.max() < 25


def test_an_image_keeps_its_proportions_and_its_size_where_it_is_large() -> None:
    wide = Example(0, 0, torch.rand(3, 300, 400), MAP, MAP, 1.0, 1.0)
    assert panels_of(wide).dense.size == (400, 300)


def test_a_class_is_called_by_its_name_or_its_number() -> None:
    assert panels_of(example(), [f"name {number}" for number in range(8)]).name == "name 7"
    assert panels_of(example()).name == "class 7"


def test_the_sheet_has_a_row_of_three_pictures_for_each_example() -> None:
    found = panels_of(example())
    page = sheet([found, found])
    assert page.size == (3 * SIDE + 2 * GAP, 2 * SIDE + GAP)
    for top in (0, SIDE + GAP):
        for place, picture in enumerate((found.image, found.dense, found.small)):
            left = place * (SIDE + GAP)
            part = page.crop((left, top, left + SIDE, top + SIDE))
            assert np.array_equal(np.asarray(part), np.asarray(picture))
