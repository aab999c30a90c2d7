"""Golden replay: equal outputs, other ones, and bundles whose golden arrays do not fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secateur.export.runner.bundle import Bundle, open_bundle
from secateur.export.runner.errors import BundleError
from secateur.export.runner.golden import golden_inputs, replay, within
from secateur.export.runner.npy import read_npy
from secateur.export.runner.runtimes import Arrays, Model
from secateur.export.runner.tensors import TensorInfo


class Linear(Model):
    """The golden outputs themselves, changed; it notes the batches that it was given."""

    inputs = (TensorInfo("input", "float32", (-1, 1, 4, 4)),)

    def __init__(self, bundle: Bundle, change: Callable[[Any], Any]) -> None:
        self.inputs_seen = golden_inputs(bundle)["input"]
        self.outputs_told = read_npy(bundle.path("golden/outputs.fp32.0.npy"), "x")
        self.change = change
        self.batches: list[int] = []

    def _run(self, feeds: Arrays) -> dict[str, Any]:
        self.batches.append(len(feeds["input"]))
        rows = [int(np.flatnonzero((self.inputs_seen == one).all((1, 2, 3)))[0]) for one in feeds["input"]]
        return {"logits": self.change(self.outputs_told[rows])}

    def _prepare(self, feeds: Arrays) -> Callable[[], None]:
        raise NotImplementedError("replay does not measure")

    def close(self) -> None:
        self.batches.clear()


@pytest.fixture
def opened(made_bundle: Path) -> Any:
    with open_bundle(made_bundle) as bundle:
        yield bundle


@pytest.mark.parametrize(("largest", "batches"), [(0, [3]), (2, [2, 1]), (8, [3])])
def test_batches_are_as_large_as_the_engine_takes(opened: Bundle, largest: int, batches: list[int]) -> None:
    model = Linear(opened, lambda logits: logits)
    graph = opened.manifest.graph("fp32")
    (found,) = replay(model, opened, graph, largest)
    assert model.batches == batches
    assert (found.relative, found.agreement) == (0.0, 1.0)
    assert within(found, graph)


@pytest.mark.parametrize(
    "change",
    [
        lambda logits: logits + 1e-3 * np.abs(logits).max(),
        lambda logits: -logits,
        lambda logits: logits * np.float32(np.nan),
        lambda logits: logits * np.float32(np.inf),
        lambda logits: np.zeros_like(logits),
    ],
)
def test_other_outputs_are_not_within_the_tolerance(opened: Bundle, change: Callable[[Any], Any]) -> None:
    graph = opened.manifest.graph("fp32")
    (found,) = replay(Linear(opened, change), opened, graph, 0)
    assert not within(found, graph)


def test_arrays_that_do_not_fit(opened: Bundle) -> None:
    graph = opened.manifest.graph("fp32")
    with pytest.raises(BundleError, match=r"has the shape \[3, 3\], but the model gives \[3, 2\]"):
        replay(Linear(opened, lambda logits: logits[:, :2]), opened, graph, 0)
    with pytest.raises(BundleError, match="has no output 'other'"):
        replay(
            Linear(opened, lambda logits: logits),
            opened,
            dataclasses.replace(graph, golden={"other": graph.golden["logits"]}),
            0,
        )
    golden = dataclasses.replace(opened.manifest.golden, images=("a", "b"))
    fewer = dataclasses.replace(opened, manifest=dataclasses.replace(opened.manifest, golden=golden))
    with pytest.raises(BundleError, match="but there are 2 images"):
        golden_inputs(fewer)
