"""Top-1 as its definition says, on any iterable of batches, and a warning where guessing does as well."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from secateur.benchmarks.gating.matched_pairs import Pairs
from secateur.core.errors import DataError
from secateur.pipeline.analysis.accuracy import accuracy, chance_warning, compared, count_right, measured
from secateur.pipeline.data.images import ArrayImages
from secateur.pipeline.data.loader import Loader
from secateur.pipeline.tasks.classify import Classify
from secateur.pipeline.tasks.regress import Regress
from tests.pipeline.data.sources import pixels


class Table(nn.Module):
    """Gives its inputs back, times one; drops all of them in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(1))
        self.drop = nn.Dropout(1.0)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.drop(x) * self.one
        return logits


@given(st.integers(1, 20), st.integers(2, 6), st.integers(1, 7), st.integers(0, 99))
def test_it_is_the_share_of_largest_logits_at_the_label(samples: int, classes: int, batch: int, seed: int) -> None:
    draws = np.random.default_rng(seed)
    logits = draws.permuted(np.tile(np.arange(classes, dtype=np.float32), (samples, 1)), axis=1)
    labels = draws.integers(0, classes, samples)
    right = sum(max(range(classes), key=row.__getitem__) == label for row, label in zip(logits, labels, strict=True))
    data = TensorDataset(torch.from_numpy(logits), torch.from_numpy(labels))
    assert accuracy(Table(), DataLoader(data, batch)) == pytest.approx(100 * right / samples)
    allowed = sorted(draws.choice(classes, size=draws.integers(1, classes + 1), replace=False).tolist())
    among = sum(max(allowed, key=row.__getitem__) == label for row, label in zip(logits, labels, strict=True))
    assert count_right(Table(), DataLoader(data, batch), allowed) == (among, samples)


IMAGES = torch.tensor([[2.0, 1.0], [0.0, 3.0], [5.0, 4.0]])


@pytest.mark.parametrize(
    "loader",
    [
        [(IMAGES, torch.tensor([0, 1, 1]))],
        [(IMAGES[:2], [0, 1]), (IMAGES[2:], np.array([1]))],
        DataLoader(TensorDataset(IMAGES, torch.tensor([0, 1, 1])), 2),
    ],
)
def test_any_iterable_of_batches_is_a_loader(loader: Iterable[Any]) -> None:
    assert accuracy(Table(), loader) == pytest.approx(200 / 3)


def test_our_own_loader_is_one() -> None:
    images = ArrayImages(pixels(4, channels=1), np.array([0, 1, 0, 1]), ("a", "b"))
    loader = Loader(images, lambda image: torch.tensor([1.0, 0.0]), batch_size=3)
    assert accuracy(Table(), loader) == 50.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_model_of_another_precision_is_measured_in_it(dtype: torch.dtype) -> None:
    assert accuracy(Table().to(dtype), [(IMAGES, [0, 1, 0])]) == 100.0


def test_the_model_is_left_as_it_was() -> None:
    model = Table().train()
    assert accuracy(model, [(IMAGES, [0, 1, 0])]) == 100.0  # in training mode, the logits would all be zero
    assert model.training
    assert model.drop.training
    assert model.one.requires_grad


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(DataError, match="no images"):
        accuracy(Table(), [])
    with pytest.raises(DataError, match="labels go from 0 to 2, but the model has 2 logits"):
        accuracy(Table(), [(IMAGES, [0, 1, 2])])
    with pytest.raises(DataError, match="can be read only once"):
        accuracy(Table(), iter([(IMAGES, [0, 1, 1])]))


@pytest.mark.parametrize(
    ("top1", "classes", "samples", "warned"),
    [
        (10.0, 10, 1000, True),
        (0.1, 1000, 1000, True),
        (0.0, 10, 500, True),  # worse than guessing: the labels are not the model's
        (12.5, 10, 200, True),
        (13.0, 10, 1000, False),
        (98.3, 10, 200, False),
        (10.0, 1000, 20, False),  # two right of twenty is much, among a thousand classes
        (50.0, 2, 100, True),
        (70.0, 2, 100, False),
        (100.0, 1, 10, False),  # one class leaves nothing to guess
    ],
)
def test_accuracy_that_guessing_reaches_is_warned_of(top1: float, classes: int, samples: int, warned: bool) -> None:
    found = chance_warning(top1, classes, samples)
    assert bool(found) == warned
    if warned:
        assert f"of {samples} images right ({top1:.1f} %), which guessing among {classes} classes reaches too" in found
        assert "data.class_map" in found


@given(st.integers(2, 50), st.integers(1, 200), st.integers(0, 9))
def test_guesses_are_warned_of(classes: int, samples: int, seed: int) -> None:
    """Half of all guessers are at or below the median, which is always warned of; a perfect model of many never is."""
    right = int(np.median(np.random.default_rng(seed).binomial(samples, 1 / classes, 999)))
    assert chance_warning(100 * right / samples, classes, samples)
    if samples >= 7:
        assert not chance_warning(100.0, classes, samples)


def test_two_models_are_compared_image_by_image_and_class_by_class() -> None:
    labels = torch.tensor([0, 1, 1])
    dense, pruned = (measured(Table(), [(images, labels)], Classify()) for images in (IMAGES, IMAGES.flip(1)))
    (found,) = compared(dense, pruned, ("a", "b", "c"))
    assert (found.dense, found.pruned) == (pytest.approx(200 / 3), pytest.approx(100 / 3))
    assert found.pairs == Pairs(3, 2, 2, 1)
    assert found.by_class == {"a": Pairs(1, 1, 1, 0), "b": Pairs(2, 1, 1, 1)}
    assert found.pairs.loss == pytest.approx(found.loss)


def test_a_metric_that_is_no_share_of_images_has_no_pairs() -> None:
    labels = torch.tensor([[2.0, 1.0], [0.0, 3.0], [5.0, 4.0]])
    meter = measured(Table(), [(IMAGES, labels)], Regress())
    assert compared(meter, meter)[0].pairs is None
