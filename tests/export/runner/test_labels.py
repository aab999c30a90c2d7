"""Names of classes, and what a model says of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from secateur.export.runner.errors import BundleError
from secateur.export.runner.labels import Labels, parse_labels


def written(**changes: object) -> bytes:
    content = {"schema": "secateur.labels/1", "classes": ["cat", "dog"], "activation": "sigmoid"}
    return json.dumps({**content, **changes}).encode()


def test_names_are_as_many_as_the_manifest_says() -> None:
    assert parse_labels(written(), 2) == Labels(("cat", "dog"), "sigmoid")
    with pytest.raises(BundleError, match="has 2 classes, but the manifest says 3"):
        parse_labels(written(), 3)
    with pytest.raises(BundleError, match=r"relu.*softmax.sigmoid"):
        parse_labels(written(activation="relu"), 2)


def test_probabilities_are_those_of_the_softmax_even_of_large_logits() -> None:
    found = Labels(("a", "b", "c")).rows(np.array([[1000.0, 1001.0, 1000.0]], np.float32), 2)
    assert found is not None and [row["class"] for row in found[0]] == ["b", "a"]
    expected = [np.e / (np.e + 2), 1 / (np.e + 2)]
    assert [row["probability"] for row in found[0]] == pytest.approx(expected, abs=1e-6)


def test_labels_that_may_all_be_there_have_a_probability_each() -> None:
    found = Labels(("a", "b", "c"), "sigmoid").rows(np.array([[-1000.0, 2.0, 1000.0]]), 3)
    assert found is not None and [row["class"] for row in found[0]] == ["c", "b", "a"]
    assert [row["probability"] for row in found[0]] == pytest.approx([1, 1 / (1 + np.exp(-2)), 0], abs=1e-6)


def test_numbers_are_shown_as_they_are() -> None:
    assert Labels(("age", "size"), "identity").rows(np.array([[41.5, -3.0]]), 1) == [
        [{"name": "age", "value": 41.5}, {"name": "size", "value": -3.0}]
    ]


@pytest.mark.parametrize(
    ("activation", "output"),
    [
        ("none", np.zeros((1, 2))),
        ("softmax", np.zeros((1, 3))),
        ("softmax", np.zeros((1, 2, 4, 4))),
        ("softmax", np.full((1, 2), np.nan)),
        ("softmax", np.zeros(())),
    ],
)
def test_an_output_that_is_not_of_the_names_has_none(activation: str, output: NDArray[np.float64]) -> None:
    assert Labels(("a", "b"), activation).rows(output, 2) is None
