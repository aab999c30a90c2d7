"""Golden replay: equal outputs, other ones, and bundles whose golden arrays do not fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secateur.export.runner.bundle import Bundle, open_bundle
from secateur.export.runner.errors import BundleError, InferenceError
from secateur.export.runner.golden import batch_of, golden_inputs, replay, run_in_batches, within
from secateur.export.runner.manifest import Built
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


ENGINE = Built("tensorrt", "fp32", "engines/x", "tensorrt", "10.3")


@pytest.mark.parametrize(
    ("smallest", "largest", "batches"), [(1, 0, [3]), (1, 2, [2, 1]), (1, 8, [3]), (2, 2, [2, 2]), (4, 4, [4])]
)
def test_batches_are_as_large_as_the_engine_takes(
    opened: Bundle, smallest: int, largest: int, batches: list[int]
) -> None:
    model = Linear(opened, lambda logits: logits)
    graph = opened.manifest.graph("fp32")
    (found,) = replay(model, opened, dataclasses.replace(ENGINE, smallest=smallest, largest=largest))
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
    (found,) = replay(Linear(opened, change), opened, ENGINE)
    assert not within(found, graph)


def test_arrays_that_do_not_fit(opened: Bundle) -> None:
    with pytest.raises(BundleError, match=r"has the shape \[3, 3\], but the model gives \[3, 2\]"):
        replay(Linear(opened, lambda logits: logits[:, :2]), opened, ENGINE)
    (fp32, *_) = opened.manifest.graphs
    other = dataclasses.replace(fp32, golden={"other": fp32.golden["logits"]})
    told = dataclasses.replace(opened, manifest=dataclasses.replace(opened.manifest, graphs=(other,)))
    with pytest.raises(BundleError, match="has no output 'other'"):
        replay(Linear(opened, lambda logits: logits), told, ENGINE)
    golden = dataclasses.replace(opened.manifest.golden, images=("a", "b"))
    fewer = dataclasses.replace(opened, manifest=dataclasses.replace(opened.manifest, golden=golden))
    with pytest.raises(BundleError, match="but there are 2 images"):
        golden_inputs(fewer)


def test_rows_are_taken_again_where_a_batch_needs_more() -> None:
    assert batch_of(np.arange(3), 5).tolist() == [0, 1, 2, 0, 1]
    assert batch_of(np.arange(3), 2, 2).tolist() == [2, 0]


def test_a_batch_that_no_machine_has_room_for_is_refused(opened: Bundle) -> None:
    """As a manifest of strangers may ask for one: `smallest` and the batch of a latency go up to a million."""
    with pytest.raises(InferenceError, match=r"a batch of 1048576 images has \d+ bytes, but at most 2147483648 go in"):
        batch_of(np.zeros((1, 3, 224, 224), np.uint8), 1 << 20)
    monstrous = dataclasses.replace(ENGINE, smallest=1 << 20)
    inputs = {"input": np.zeros((2, 3, 64, 64), np.float32)}
    with pytest.raises(InferenceError, match="a batch of 1048576 images"):
        run_in_batches(Linear(opened, lambda logits: logits), inputs, monstrous)
