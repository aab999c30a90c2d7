"""labels.json: the names of the classes in the order of the outputs, what makes numbers of these, and both together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import BundleError
from .fields import read_object, text_of
from .manifest import LABELS

SCHEMA = "secateur.labels/1"
ACTIVATIONS = ("softmax", "sigmoid", "identity", "none")


@dataclass(frozen=True)
class Labels:
    """The names, and the `activation` that makes of the first output `[B, names]` a number for each of them.

    By `softmax` one class is right, by `sigmoid` any number of them, and by `identity` the outputs are the numbers;
    with `none` the outputs are not of these names.
    """

    names: tuple[str, ...]
    activation: str = "softmax"

    def numbers(self, output: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | None:
        """The number of each name `[B, names]`, float64; None for an output that is not of them, or not finite."""
        if self.activation == "none" or output.shape[1:] != (len(self.names),) or not np.isfinite(output).all():
            return None
        exact = output.astype(np.float64)
        if self.activation == "softmax":
            shares = np.exp(exact - exact.max(axis=1, keepdims=True))
            return np.asarray(shares / shares.sum(axis=1, keepdims=True))
        return exact if self.activation == "identity" else np.exp(-np.logaddexp(0, -exact))

    def rows(self, output: np.ndarray[Any, Any], count: int) -> list[list[dict[str, Any]]] | None:
        """For each image its `count` most probable classes with their probabilities; of numbers all, in their order."""
        found = self.numbers(output)
        if found is None:
            return None
        if self.activation == "identity":
            return [[{"name": name, "value": float(one)} for name, one in zip(self.names, row)] for row in found]
        orders = np.argsort(-output.astype(np.float64), axis=1, kind="stable")[:, :count]
        return [
            [{"class": self.names[index], "probability": round(float(row[index]), 6)} for index in order]
            for row, order in zip(found, orders)
        ]


def parse_labels(data: bytes, count: int) -> Labels:
    """What labels.json says; raises `BundleError` where its names are not as many as the manifest says."""
    fields = read_object(data, LABELS, SCHEMA)
    found = Labels(fields.items("classes", text_of), fields.text("activation", "|".join(ACTIVATIONS)))
    fields.end()
    if len(found.names) != count:
        raise BundleError(f"{LABELS} has {len(found.names)} classes, but the manifest says {count}")
    return found
