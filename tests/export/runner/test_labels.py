"""Names of classes, and the largest logits by name."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.export.runner.errors import BundleError
from secateur.export.runner.labels import largest, parse_labels


def test_names_are_as_many_as_the_manifest_says() -> None:
    data = b'{"schema": "secateur.labels/1", "classes": ["cat", "dog"]}'
    assert parse_labels(data, 2) == ("cat", "dog")
    with pytest.raises(BundleError, match="has 2 classes, but the manifest says 3"):
        parse_labels(data, 3)


def test_probabilities_are_those_of_the_softmax_even_of_large_logits() -> None:
    found = largest(np.array([1000.0, 1001.0, 1000.0], np.float32), ("a", "b", "c"), 2)
    assert [name for name, _ in found] == ["b", "a"]
    assert [share for _, share in found] == pytest.approx([np.e / (np.e + 2), 1 / (np.e + 2)])
