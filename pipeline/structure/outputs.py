"""What goes into models that are compared, and how far apart it comes out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from secateur.core.input_spec import InputSpec

MOST_SAMPLES = 16
NUMBERS = 2**17
"""A comparison takes about so many numbers in: few pictures show all units, of short vectors it takes more."""
SMOOTH = 4
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9, torch.float16: 2e-2, torch.bfloat16: 8e-2}
"""How far two models' outputs that should be alike may be apart, relative to their scale."""


def comparison_input(inputs: InputSpec, device: torch.device, dtype: torch.dtype, least: int = 2) -> Any:
    """Seeded normal samples, `least` or more; pictures get smooth patches too.

    The averages over pure noise are alike for all samples.
    """
    batch = min(max(NUMBERS // max(inputs.numbers, 1), least), MOST_SAMPLES)
    return inputs.draw(batch, 0, device, dtype, _noise)


def _noise(shape: Sequence[int], draw: torch.Generator) -> Tensor:
    x = torch.randn(*shape, generator=draw)
    if len(shape) == 4 and min(shape[2:]) > SMOOTH:
        patches = torch.randn(*shape[:2], SMOOTH, SMOOTH, generator=draw)
        x = 0.7 * x + F.interpolate(patches, size=tuple(shape[2:]), mode="bicubic")
    return x


def scale_of(output: Tensor) -> Tensor:
    """The largest magnitude in an output, above zero."""
    return output.detach().abs().max().clamp_min(torch.finfo(output.dtype).tiny)


def relative_difference(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest difference between two models' outputs, each relative to its expected scale.

    Infinite for outputs of other shapes; NaN where one has none.
    """
    if [tensor.shape for tensor in found] != [tensor.shape for tensor in expected]:
        return math.inf
    differences = []
    for one, two in zip(found, expected, strict=True):
        if two.numel():
            one, two = (tensor if tensor.is_floating_point() else tensor.double() for tensor in (one, two))
            differences.append(float(((one - two).abs().max() / scale_of(two)).detach()))
    return largest(differences)


def largest(differences: Sequence[float]) -> float:
    """The largest of some differences, zero of none; NaN where one of them is."""
    return max(differences, key=lambda number: (math.isnan(number), number), default=0.0)
