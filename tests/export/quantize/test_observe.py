"""Calibration images: what is no use is refused in a sentence, and each is either measured or judges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from secateur.core.errors import ExportError
from secateur.export.quantize.graph_edit import read_program
from secateur.export.quantize.observe import Calibration, CalibrationFeeds, Quarter, feeds_of, observed
from secateur.export.runner.tensors import TensorInfo
from tests.export.conftest import SHAPE, needs_ort

TAKES = (TensorInfo("input", "float32", (-1, *SHAPE)),)


def batch(count: int, value: float | None = None, shape: tuple[int, ...] = SHAPE) -> tuple[Tensor, Tensor]:
    images = torch.randn(count, *shape) if value is None else torch.full((count, *shape), value)
    return images, torch.arange(count)


def test_every_fourth_image_judges_whatever_the_batches() -> None:
    images = torch.arange(10.0)[:, None]
    for size in (1, 3, 10):
        loader = [(images[k : k + size], torch.arange(10)[k : k + size]) for k in range(0, 10, size)]
        judging, fitting = (
            [label for _, labels in Quarter(loader, others=others) for label in labels.tolist()]
            for others in (False, True)
        )
        assert judging == [3, 7]
        assert fitting == [0, 1, 2, 4, 5, 6, 8, 9]
        assert [float(x) for pictures, _ in Quarter(loader) for x in pictures.ravel()] == [3.0, 7.0]


@pytest.mark.parametrize(
    ("loader", "words"),
    [
        ([], "no calibration images were given, but 8 bits need 4 or more"),
        ([batch(1)], "1 calibration image was given, but"),
        ([batch(3)], "3 calibration images were given, but"),
        ([batch(4, -2.1179), batch(4, -2.1179)], "every value of the 8 calibration images is -2.118, as if all were"),
        ([batch(4, float("nan"))], "values that are not finite"),
        (
            [batch(4, shape=(3, 16, 16))],
            r"are \[3, 3, 16, 16\], but the graph takes input float32 \[batch, 3, 32, 32\]",
        ),
        ([torch.zeros(4, *SHAPE)], "batch 0 of the calibration images is a Tensor, but pairs"),
        ([((torch.randn(4, *SHAPE), torch.randn(4, 2)), None)], "but the graph takes input float32"),
    ],
)
def test_bad_images_are_refused(loader: list[Any], words: str) -> None:
    with pytest.raises(ExportError, match=words):
        CalibrationFeeds(loader, TAKES)


def test_the_digest_is_that_of_the_images() -> None:
    loader = [batch(6)]
    changed = [(loader[0][0].clone(), loader[0][1])]
    changed[0][0][0, 0, 0, 0] += 1
    first, again, other = (CalibrationFeeds(one, TAKES).digest for one in (loader, loader, changed))
    assert first == again != other


@needs_ort
def test_observed_tensors_are_those_of_the_graph(fp32: Path, images: list[tuple[Tensor, Tensor]]) -> None:
    program = read_program(fp32)
    before = [value.name for value in program.graph.outputs]
    norm = next(node for node in program.graph if node.op_type == "LayerNormalization")
    feeds = CalibrationFeeds(images, TAKES)
    ((arrays, *_),) = [list(observed(program, ["input", str(norm.outputs[0].name), "logits"], feeds.fitting()))]
    assert [value.name for value in program.graph.outputs] == before
    assert [array.shape for array in arrays.values()] == [(6, *SHAPE), (6, 17, 64), (6, 10)]
    np.testing.assert_array_equal(arrays["input"], images[0][0][[0, 1, 2, 4, 5, 6]].numpy())


def test_graphs_of_the_same_inputs_share_the_check_and_the_hash() -> None:
    passes: list[int] = []

    class Counted(list[Any]):
        def __iter__(self) -> Any:
            passes.append(1)
            return super().__iter__()

    images = Calibration(Counted([batch(8)]))
    first = feeds_of(images, TAKES)
    assert len(passes) == 2  # those that measure, and those that judge
    assert feeds_of(images, list(TAKES)) is first and len(passes) == 2
    other = feeds_of(images, (TensorInfo("pixels", "float32", (-1, *SHAPE)),))
    assert set(next(other.judging())) == {"pixels"} and other.digest == first.digest
    assert len(list(Quarter(images))) == 1
    with pytest.raises(ExportError, match="no calibration images were given"):
        feeds_of(Calibration([]), TAKES)


@needs_ort
def test_inputs_alone_are_what_was_fed(fp32: Path, images: list[tuple[Tensor, Tensor]]) -> None:
    feeds = [{"input": images[0][0].numpy()}]
    (found,) = observed(read_program(fp32), ["input"], feeds)
    assert set(found) == {"input"}
    np.testing.assert_array_equal(found["input"], feeds[0]["input"])
