"""The embedded digits, whose split is part of the source."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from secateur.pipeline.data.dataset import open_data
from secateur.pipeline.data.digits import open_digits
from secateur.pipeline.data.spec import DataSpec


def test_digits_are_split_in_the_same_way_whatever_the_recipe_says() -> None:
    one, two = open_data("digits", 0), open_data(DataSpec(path="digits", held_out=0.5), 3)
    assert one.evaluation.fingerprint() == two.evaluation.fingerprint()
    assert one.calibration.read(0).size == (8, 8)
    assert one.calibration.pixels.max() == 255  # type: ignore[attr-defined]  # digits are arrays


def test_the_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    sides = open_digits(Path("digits"))
    assert sides.held_out is not None
    assert (len(sides.train), len(sides.held_out)) == (1438, 359)
    assert sides.train.classes == tuple("0123456789")
    everything = {
        (int(label), image.tobytes())
        for label, image in zip(bunch.target, np.round(bunch.images * 255 / 16).astype(np.uint8), strict=True)
    }
    for side in (sides.train, sides.held_out):
        assert {(int(side.labels[i]), side.read(i).tobytes()) for i in range(len(side))} <= everything
