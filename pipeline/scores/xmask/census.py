"""What the images are that masks are learned from, seen in one pass."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from secateur.core.errors import DataError
from secateur.pipeline.data.loader import Batches


@dataclass(frozen=True)
class Census:
    """What one pass over a loader's images shows: how many there are, their labels, and a hash of all of them."""

    samples: int
    labels: tuple[int, ...]
    identity: str


def census(loader: Batches) -> Census:
    """The census of a loader; its batch size does not matter. Raises `DataError` without an image."""
    digest, labels = hashlib.sha256(), list[int]()
    for images, batch in loader:
        labels += batch.tolist()
        digest.update(images.cpu().contiguous().numpy().tobytes())
    if not labels:
        raise DataError("there are no images to learn masks from: give a data set with at least one")
    digest.update(np.asarray(labels).tobytes())
    return Census(len(labels), tuple(sorted(set(labels))), digest.hexdigest())
