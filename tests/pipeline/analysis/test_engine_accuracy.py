"""The accuracy of an engine is that of its own answers, in the form in which its model gives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from secateur.core.errors import EngineError
from secateur.export.engine import Arrays, Engine, How
from secateur.export.runner.tensors import DYNAMIC, TensorInfo
from secateur.pipeline.analysis.accuracy import compared, measured
from secateur.pipeline.analysis.engine_accuracy import measured_engine
from secateur.pipeline.tasks.classify import Classify

TASK = Classify()


class Turned(Engine):
    """Answers a class too high for the images whose first value is above `limit`, and keeps what it was given."""

    def __init__(self, dtype: str, shape: tuple[int, ...], limit: float) -> None:
        super().__init__((TensorInfo("x", dtype, shape),), (TensorInfo("logits", "float32", (DYNAMIC, 3)),))
        self.limit = limit
        self.given: list[Any] = []

    def _infer(self, inputs: Arrays) -> Arrays:
        (array,) = inputs.values()
        self.given.append(array)
        rows = np.asarray(array, np.float32).reshape(len(array), -1)
        turned = np.where(rows[:, :1] > self.limit, np.roll(rows[:, :3], 1, axis=1), rows[:, :3])
        return {"logits": turned}

    def _prepare(self, inputs: Arrays, how: How) -> Callable[[], object]:
        raise AssertionError("nothing is timed here")

    def _close(self) -> None:
        pass


class First(nn.Module):
    """Answers with the first three values of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(1))

    def forward(self, images: Tensor) -> Tensor:
        return self.one * images.flatten(1)[:, :3]


@pytest.fixture
def batches() -> list[tuple[Tensor, Tensor]]:
    images = torch.rand(10, 3, 1, 1, generator=torch.Generator().manual_seed(0))
    return [(images[:8], images[:8].flatten(1).argmax(1)), (images[8:], images[8:].flatten(1).argmax(1))]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_it_is_what_the_engine_answers_and_not_pytorch(dtype: str, batches: list[tuple[Tensor, Tensor]]) -> None:
    model, engine = First(), Turned(dtype, (DYNAMIC, 3, 1, 1), limit=0.5)
    wrong = int((torch.cat([images for images, _ in batches])[:, 0] > 0.5).sum())
    meter = measured_engine(engine, model, batches, TASK)
    assert 0 < wrong < 10
    (found,) = compared(measured(model, batches, TASK), meter)
    assert (found.dense, found.pruned) == (100.0, 100.0 - 10 * wrong)
    assert found.pairs is not None and (found.pairs.lost, found.pairs.won) == (wrong, 0)
    assert str(engine.given[0].dtype) == dtype


def test_an_engine_with_its_preprocessing_inside_gets_pixels(batches: list[tuple[Tensor, Tensor]]) -> None:
    pixels = [(images * 255, labels) for images, labels in batches]
    engine = Turned("uint8", (DYNAMIC, 1, 1, 3), limit=300)
    measured_engine(engine, First(), batches, TASK, pixels=pixels)
    expected = np.rint(pixels[0][0].numpy()).astype(np.uint8).transpose(0, 2, 3, 1)
    assert np.array_equal(engine.given[0], expected)


def test_an_engine_that_takes_other_images_is_an_error(batches: list[tuple[Tensor, Tensor]]) -> None:
    with pytest.raises(EngineError, match="the engine takes"):
        measured_engine(Turned("float32", (4, 3, 1, 1), 0.5), First(), batches, TASK)
