"""How far apart two models' outputs are, and what goes in."""

from __future__ import annotations

import math

import pytest
import torch

from secateur.core.input_spec import InputSpec
from secateur.pipeline.structure.outputs import (
    MOST_SAMPLES,
    comparison_input,
    relative_difference,
    scale_of,
)

CPU = torch.device("cpu")


def test_the_difference_is_the_largest_of_all_outputs_each_by_its_own_scale() -> None:
    expected = [torch.tensor([0.0, -8.0]), torch.tensor([100.0])]
    found = [torch.tensor([0.0, -6.0]), torch.tensor([101.0])]
    assert relative_difference(found, expected) == pytest.approx(2 / 8)
    assert relative_difference(expected, expected) == 0


def test_whole_numbers_are_compared_too() -> None:
    assert relative_difference([torch.tensor([1, 2])], [torch.tensor([1, 4])]) == pytest.approx(0.5)


def test_outputs_of_other_shapes_or_numbers_never_agree() -> None:
    one = torch.zeros(2, 3)
    assert relative_difference([one], [torch.zeros(3, 2)]) == math.inf
    assert relative_difference([one], [one, one]) == math.inf
    broken = [torch.tensor([1.0]), torch.tensor([math.nan])]
    assert math.isnan(relative_difference(broken, [torch.tensor([5.0]), torch.tensor([1.0])]))


def test_an_output_of_zeros_has_a_scale() -> None:
    assert relative_difference([torch.zeros(3)], [torch.zeros(3)]) == 0
    assert float(scale_of(torch.zeros(3))) > 0


@pytest.mark.parametrize(("shape", "batch"), [((3, 224, 224), 2), ((3, 64, 64), 10), ((3, 4, 4), 16), ((6,), 16)])
def test_short_inputs_come_in_larger_batches(shape: tuple[int, ...], batch: int) -> None:
    spec = InputSpec.shaped(shape)
    x = comparison_input(spec, CPU, torch.float64)
    assert x.shape == (batch, *shape)
    assert batch <= MOST_SAMPLES
    assert comparison_input(spec, CPU, torch.float64, least=1).shape[0] == (1 if batch == 2 else batch)
    assert x.dtype == torch.float64
    assert torch.equal(x, comparison_input(spec, CPU, torch.float64))


def test_the_averages_of_pictures_differ() -> None:
    """Averages over noise alone are within 3 / 224 of one another, and so would be whatever follows a pooling."""
    x = comparison_input(InputSpec.shaped((3, 224, 224)), CPU, torch.float32)
    assert (x[0].mean((1, 2)) - x[1].mean((1, 2))).abs().max() > 0.1
