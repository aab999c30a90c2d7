"""Detection: mAP of boxes that are right, wrong and crowds, and decoders that give something else."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch
from torch import Tensor

from secateur.core.errors import DataError, RecipeError
from secateur.pipeline.tasks.detect import Detect
from tests.pipeline.tasks.small_tasks import NETS

TASK = Detect(loss=f"{NETS}:detection_loss", decode="tests.pipeline.tasks.test_detect:plain")
needs_packages = pytest.mark.skipif(
    find_spec("torchmetrics") is None or find_spec("pycocotools") is None, reason="torchmetrics and pycocotools needed"
)
BOX, OTHER = [1.0, 1.0, 9.0, 9.0], [10.0, 2.0, 15.0, 12.0]
NONE = [-1.0] * 6


def plain(outputs: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Rows of class, score and box."""
    return [(rows[:, 2:], rows[:, 1], rows[:, 0]) for rows in outputs]


def shorter(outputs: Tensor) -> list[dict[str, Tensor]]:
    """One image too few, in torchvision's names."""
    return [{"boxes": rows[:, 2:], "scores": rows[:, 1], "labels": rows[:, 0]} for rows in outputs[1:]]


@needs_packages
@pytest.mark.parametrize(
    ("found", "wanted", "half"),
    [
        ([[0, 0.9, *BOX], [1, 0.8, *OTHER]], [[0, *BOX, 0], [1, *OTHER, 0]], 100.0),
        ([[0, 0.9, *BOX], [0, 0.8, *OTHER]], [[0, *BOX, 0], [1, *OTHER, 0]], 50.0),  # the second class is missed
        ([[0, 0.9, *BOX], [0, 0.8, *OTHER]], [[0, *BOX, 0], NONE], 100.0),  # the surer one is right
        (
            [[0, 0.9, *BOX], [0, 0.95, *OTHER]],
            [[0, *BOX, 0], [0, *OTHER, 1]],
            100.0,
        ),  # what is in a crowd is no mistake
    ],
)
def test_map_of_boxes(found: list[list[float]], wanted: list[list[float]], half: float) -> None:
    meter = TASK.meter(("a", "b"))
    with pytest.raises(DataError, match="no images"):
        meter.metrics()
    meter.add(torch.tensor([found]), torch.tensor([wanted]))
    precision, at_half = meter.metrics()
    assert at_half.value == pytest.approx(half, abs=0.1)
    assert (precision.name, precision.value) == ("mAP", pytest.approx(half, abs=0.1))


@needs_packages
def test_a_decoder_that_forgets_an_image_is_refused() -> None:
    meter = Detect(TASK.loss, "tests.pipeline.tasks.test_detect:shorter").meter(("a",))
    with pytest.raises(RecipeError, match="gives 1 results for a batch of 2"):
        meter.add(torch.tensor([[[0, 0.9, *BOX]]] * 2), torch.tensor([[NONE]] * 2))


def test_what_a_decoder_gives_is_checked() -> None:
    outputs = torch.tensor([[[1, 0.9, *BOX]]])
    TASK.check(outputs, ("a", "b"))
    with pytest.raises(RecipeError, match="gives the classes 1 to 1, but the data has 0 to 0"):
        TASK.check(outputs, ("a",))
    with pytest.raises(RecipeError, match=r"gives \[\[1, 2\], \[1\], \[1\]\] for an image, but must give boxes"):
        TASK.check(outputs[..., :4], ("a", "b"))


def test_losses_and_scores_are_those_of_the_functions() -> None:
    outputs = {"classes": torch.zeros(2, 2, 4, 4), "sides": torch.zeros(2, 4, 4, 4)}
    losses = TASK.losses(outputs, torch.tensor([[[0, *BOX, 0]], [NONE]]))
    torch.testing.assert_close(losses, torch.full((2,), 2.0).log())
    assert TASK.scores(outputs).shape == (2, 2)
