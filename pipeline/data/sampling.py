"""Which images are taken: a few of each class, or a part of each class held out; seeded, class by class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from secateur.core.errors import DataError

_FEW, _HELD_OUT = 1, 2  # separate random streams, so that one choice does not follow from the other


def few_shot(labels: NDArray[np.int64], per_class: int, seed: int = 0) -> NDArray[np.int64]:
    """The sorted indices of `per_class` images of each class (0: all images).

    A class with fewer images gives all of them; `shortfall` says which. The choice in one class depends on the
    seed and on that class alone, and a larger `per_class` only adds to it. Raises `DataError` for a negative number.
    """
    labels = np.asarray(labels, dtype=np.int64)
    if per_class < 0:
        raise DataError(f"samples_per_class is {per_class}, but must be 1 or more, or 0 for all images")
    if per_class == 0:
        return np.arange(len(labels), dtype=np.int64)
    return _chosen(labels, dict.fromkeys(np.unique(labels).tolist(), per_class), seed, _FEW)


def shortfall(labels: NDArray[np.int64], classes: tuple[str, ...], per_class: int) -> str:
    """A sentence on the classes that have fewer than `per_class` images, or an empty string when none has."""
    counts = np.bincount(labels, minlength=len(classes))
    short = np.flatnonzero(counts < per_class)
    if not short.size:
        return ""
    first = ", ".join(f"{classes[i]!r} has {counts[i]}" for i in short[:3])
    return (
        f"{per_class} images of each class were asked, but {short.size} of {len(classes)} classes have fewer "
        f"({first}{', ...' if short.size > 3 else ''}): all of theirs are used"
    )


def held_out(labels: NDArray[np.int64], fraction: float, seed: int = 0) -> NDArray[np.int64]:
    """The sorted indices of the images to hold out: the same `fraction` of each class, rounded.

    A class of two images or more has at least one on each side; a single image is not held out.
    """
    labels = np.asarray(labels, dtype=np.int64)
    values, counts = np.unique(labels, return_counts=True)
    parts = {
        int(label): min(max(round(fraction * int(count)), 1), int(count) - 1)
        for label, count in zip(values, counts, strict=True)
    }
    return _chosen(labels, parts, seed, _HELD_OUT)


def _chosen(labels: NDArray[np.int64], parts: dict[int, int], seed: int, stream: int) -> NDArray[np.int64]:
    """The sorted indices of the first `parts[label]` images of a seeded shuffle of each class."""
    if seed < 0:
        raise DataError(f"the seed is {seed}, but must be 0 or more")
    order = np.argsort(labels, kind="stable")  # indices grouped by class, ascending within each
    starts = np.searchsorted(labels[order], sorted(parts))
    ends = np.searchsorted(labels[order], sorted(parts), side="right")
    chosen = [
        np.random.default_rng([seed, stream, label]).permutation(order[start:end])[: parts[label]]
        for label, start, end in zip(sorted(parts), starts, ends, strict=True)
    ]
    return np.sort(np.concatenate([np.empty(0, dtype=np.int64), *chosen]))
