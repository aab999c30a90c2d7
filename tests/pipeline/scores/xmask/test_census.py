"""The census of images: their number, their labels, and a hash that batches do not change."""

from __future__ import annotations

import pytest

from secateur.core.errors import DataError
from secateur.pipeline.scores.xmask.census import census
from tests.pipeline.data.test_shuffled import numbered


def test_the_census_counts_labels_and_tells_images_apart() -> None:
    found = census(numbered(6, 4))
    assert (found.samples, found.labels) == (6, (0, 1, 2, 3, 4, 5))
    assert found == census(numbered(6, 2))
    other = numbered(6, 4)
    other[0][0][1] += 1
    assert census(other).identity != found.identity
    with pytest.raises(DataError, match="no images to learn masks from"):
        census([])
