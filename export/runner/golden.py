"""Golden replay: whether a model gives for the bundle's inputs what it gave where the bundle was made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .bundle import Bundle
from .errors import BundleError, InferenceError
from .manifest import Built, Graph
from .npy import MOST_BYTES, read_npy
from .runtimes import Arrays, Model


@dataclass(frozen=True)
class Difference:
    """How far an output is from the golden one, `relative` to its largest value; `agreement` is that of top-1."""

    output: str
    relative: float
    cosine: float
    agreement: float


def golden_inputs(bundle: Bundle) -> dict[str, np.ndarray[Any, Any]]:
    """The golden inputs by name, `[N, ...]` each; raises `BundleError` where they are not one for each image."""
    found = {name: read_npy(bundle.path(file), file) for name, file in bundle.manifest.golden.inputs.items()}
    count = len(bundle.manifest.golden.images)
    for name, array in found.items():
        if array.ndim < 1 or len(array) != count or not count:
            raise BundleError(
                f"the golden input {name!r} has the shape {list(array.shape)}, but there are {count} images"
            )
    return found


def replay(model: Model, bundle: Bundle, engine: Built) -> list[Difference]:
    """How far each output is from the golden one; the inputs go in as many at once as the engine takes.

    Raises `InferenceError` where the model does not take them, and `BundleError` where the golden outputs have another
    shape.
    """
    graph = bundle.manifest.graph(engine.precision)
    outputs = run_in_batches(model, golden_inputs(bundle), engine)
    found = []
    for name, file in sorted(graph.golden.items()):
        expected = read_npy(bundle.path(file), file)
        if name not in outputs:
            raise BundleError(f"the model has no output {name!r}, which {file} is of")
        computed = outputs[name]
        if computed.shape != expected.shape:
            raise BundleError(
                f"{file} has the shape {list(expected.shape)}, but the model gives {list(computed.shape)}"
            )
        found.append(_difference(name, expected, computed))
    return found


def run_in_batches(model: Model, inputs: Arrays, engine: Built) -> dict[str, np.ndarray[Any, Any]]:
    """The outputs for inputs `[N, ...]`, of which as many go in at once as the engine takes.

    Where it takes no fewer than there are left, the last ones are filled up with the first. Raises `InferenceError`
    where the model does not take them.
    """
    count = len(next(iter(inputs.values())))
    size = max(engine.smallest, min(engine.largest or count, count))
    parts = []
    for start in range(0, count, size):
        taken = max(engine.smallest, min(size, count - start))
        parts.append(model.run({name: batch_of(array, taken, start) for name, array in inputs.items()}))
    return {name: np.concatenate([part[name] for part in parts])[:count] for name in parts[0]}


def batch_of(array: np.ndarray[Any, Any], batch: int, start: int = 0) -> np.ndarray[Any, Any]:
    """`batch` rows of an array from `start` on, and from the first on again where there are too few.

    Raises `InferenceError` for more than `MOST_BYTES` of them.
    """
    needed = batch * array[:1].nbytes
    if needed > MOST_BYTES:
        raise InferenceError(
            f"a batch of {batch} images has {needed} bytes, but at most {MOST_BYTES} go in at once: take a smaller one"
        )
    return np.ascontiguousarray(array[np.arange(start, start + batch) % len(array)])


def within(difference: Difference, graph: Graph) -> bool:
    """Whether a difference is allowed in the precision of a graph; one that is no number is not."""
    return difference.relative <= graph.tolerance and difference.cosine >= graph.cosine


def _difference(name: str, expected: np.ndarray[Any, Any], computed: np.ndarray[Any, Any]) -> Difference:
    one, other = expected.astype(np.float64), computed.astype(np.float64)
    if not np.isfinite(other).all():
        return Difference(name, float("inf"), 0.0, 0.0)
    scale = float(np.abs(one).max(initial=0.0))
    largest = float(np.abs(one - other).max(initial=0.0))
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    cosine = float(one.ravel() @ other.ravel()) / lengths if lengths else float(np.array_equal(one, other))
    rows = (len(one), -1)
    same = one.reshape(rows).argmax(1) == other.reshape(rows).argmax(1) if one.size else np.ones(1)
    return Difference(name, largest / scale if scale else largest, cosine, float(same.mean()))
