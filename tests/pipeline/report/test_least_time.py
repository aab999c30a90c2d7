"""What a run takes at least: of images that are timed, and of no method that looks at none."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from secateur.pipeline.report.least_time import passes, timed_pass
from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.recipe import make_recipe
from tests.pipeline.cli.conftest import RECIPE


class Slow(nn.Module):
    """Takes 40 ms for a batch, and ten times that the first time."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.called = 0

    def forward(self, images: Tensor) -> Tensor:
        self.called += 1
        time.sleep(0.4 if self.called == 1 else 0.04)
        return images.flatten(1) * self.weight


def test_a_batch_is_timed_once_it_is_warm() -> None:
    model = Slow()
    assert 0.01 <= timed_pass(model, [(torch.zeros(4, 1, 2, 2), torch.zeros(4))]) < 0.1
    assert model.called == 2


@pytest.mark.parametrize(
    ("sections", "wanted"),
    [
        ({}, {"score": 100, "recover": 1438, "bench": 359}),
        ({"score": {"method": "magnitude"}}, {"recover": 1438, "bench": 359}),
        ({"recover": {"compensate": False, "distill": {"epochs": 2}}}, {"score": 100, "recover": 2876, "bench": 359}),
        ({"recover": {"compensate": False}}, {"score": 100, "bench": 359}),
    ],
)
def test_stages_look_at_their_images_once_or_as_often_as_a_recipe_says(
    sections: dict[str, object], wanted: dict[str, int], tmp_path: Path
) -> None:
    assert passes(Run(tmp_path, make_recipe({**RECIPE, **sections}, "test"))) == wanted
