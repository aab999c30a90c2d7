"""labels.json: the names of the classes in the order of the logits, and the largest of some logits by name."""

from __future__ import annotations

from typing import Any

import numpy as np

from .errors import BundleError
from .fields import read_object, text_of
from .manifest import LABELS

SCHEMA = "secateur.labels/1"


def parse_labels(data: bytes, count: int) -> tuple[str, ...]:
    """The names; raises `BundleError` where they are not as many as the manifest says."""
    fields = read_object(data, LABELS, SCHEMA)
    names = fields.items("classes", text_of)
    fields.end()
    if len(names) != count:
        raise BundleError(f"{LABELS} has {len(names)} classes, but the manifest says {count}")
    return names


def largest(logits: np.ndarray[Any, Any], names: tuple[str, ...], count: int) -> list[tuple[str, float]]:
    """The `count` most probable classes of `logits` `[classes]`, with their probabilities by softmax."""
    exact = logits.astype(np.float64)
    shares = np.exp(exact - exact.max())
    shares /= shares.sum()
    order = np.argsort(-exact, kind="stable")[:count]
    return [(names[index], float(shares[index])) for index in order]
