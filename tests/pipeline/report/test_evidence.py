"""The picture of fidelity shows the chosen images and both maps."""

from __future__ import annotations

import pytest
import torch

from secateur.pipeline.analysis.fidelity import Example, Fidelity
from secateur.pipeline.report.evidence import evidence


@pytest.mark.parametrize("channels", [1, 3])
def test_each_example_is_a_row_of_image_dense_map_and_pruned_map(channels: int) -> None:
    maps = torch.tensor([[0.0, -2.0], [1.0, 0.5]])
    examples = tuple(
        Example(index, 7, torch.randn(channels, 4, 4), maps, torch.zeros(2, 2), 0.5, 0.25) for index in (0, 9)
    )
    axes = evidence(Fidelity((0.5,) * 10, (0.25,) * 10, examples)).axes
    assert [one.get_title("left") for one in axes[:3]] == ["class 7", "dense", "pruned (cosine 0.50, rank 0.25)"]
    assert len(axes) == 6
    named = evidence(Fidelity((0.5,) * 10, (0.25,) * 10, examples), [f"name {number}" for number in range(8)]).axes
    assert named[0].get_title("left") == "name 7"
    image, dense, _ = (one.get_images()[0] for one in axes[:3])
    assert image.get_array().shape == (4, 4, 3)
    assert (float(image.get_array().min()), float(image.get_array().max())) == (0.0, 1.0)
    assert dense.get_array().tolist() == maps.tolist()
    assert dense.get_clim() == (-2.0, 2.0)  # white is zero


def test_without_examples_the_picture_says_so() -> None:
    figure = evidence(Fidelity((0.5,), (0.5,), ()))
    assert [text.get_text() for text in figure.texts] == ["no examples were chosen"]
