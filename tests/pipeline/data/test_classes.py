"""Classes by name: in the data, in the model, and the images that are left."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.core.errors import DataError
from secateur.pipeline.data.classes import labels_of, logits_of, of_classes, spelt_out
from secateur.pipeline.data.dataset import Dataset
from secateur.pipeline.data.images import ArrayImages


def images(count: int) -> ArrayImages:
    """Images of four classes in turn, each filled with its own number."""
    pixels = np.arange(count, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), dtype=np.uint8)
    return ArrayImages(pixels, np.arange(count) % 4, ("ant", "bee", "cat", "dog"))


def test_images_of_some_classes_are_labelled_in_the_order_of_the_words() -> None:
    data = Dataset(images(12), images(8))
    before = data.calibration.fingerprint()
    found = of_classes(data, ("dog", "bee"))
    assert found.classes == found.evaluation.classes == ("dog", "bee")
    assert found.calibration.pixels[:, 0, 0].tolist() == [1, 3, 5, 7, 9, 11]  # type: ignore[attr-defined]  # in memory
    assert found.calibration.labels.tolist() == [1, 0, 1, 0, 1, 0]
    assert found.evaluation.labels.tolist() == [1, 0, 1, 0]
    assert not found.calibration.numbered
    assert data.calibration.fingerprint() == before
    assert found.calibration.fingerprint() != of_classes(data, ("bee", "dog")).calibration.fingerprint()


def test_words_name_labels_and_logits() -> None:
    classes = ("n01440764", "n03888257")
    assert labels_of(["n03888257"], classes) == [1]
    assert logits_of(["n03888257", "n01440764"], classes, 2) == [1, 0]
    assert logits_of(["n03888257", "n01440764"], classes, 1000) == [701, 0]
    assert logits_of(["7", "3"], ("3", "7"), 10) == [7, 3]


def test_words_that_mean_nothing_are_refused() -> None:
    with pytest.raises(DataError, match=r"no class 'cta'.*did you mean 'cat'"):
        labels_of(["cta"], ("cat", "dog"))
    with pytest.raises(DataError, match="2 classes and the model 1000, so that 'cat'"):
        logits_of(["cat"], ("cat", "dog"), 1000)
    with pytest.raises(DataError, match="so that 'n01440764' does not say"):
        logits_of(["n01440764"], ("n01440764", "n03888257"), 5)


def test_wordnet_ids_are_spelt_out_for_readers() -> None:
    assert spelt_out(("n01440764", "bee", "n99999999")) == ["tench (n01440764)", "bee", "n99999999"]
