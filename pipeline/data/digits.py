"""The source `digits`: scikit-learn's 1,797 handwritten digits, grey, 8 x 8, embedded in the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from secateur.pipeline.data.images import ArrayImages
from secateur.pipeline.data.registry import Sides, Source, register
from secateur.pipeline.data.sampling import held_out

HELD_OUT, SEED = 0.2, 0
"""The split is part of the source and no recipe changes it, so that a model trained on one side never saw the other."""


def open_digits(path: Path) -> Sides:
    """Training images (80 % of each class) and held-out images (20 %), pixels 0 to 16 stretched to 0 to 255."""
    from sklearn.datasets import load_digits  # slow to import, and needed by this source only

    bunch = load_digits()
    pixels = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    images = ArrayImages(pixels, bunch.target.astype(np.int64), tuple(str(digit) for digit in range(10)))
    held = held_out(images.labels, HELD_OUT, SEED)
    return Sides(images.exclude(held), images.subset(held))


register(Source("digits", "the word digits", lambda path: str(path) == "digits", open_digits, rank=-1))
