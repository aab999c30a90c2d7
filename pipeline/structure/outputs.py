"""What goes into models that are compared, and how far apart it comes out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._pytree import tree_leaves

MOST_SAMPLES = 16
NUMBERS = 2**17
"""A comparison takes about so many numbers in: few pictures show all units, of short vectors it takes more."""
SMOOTH = 4


def comparison_input(shape: Sequence[int], device: torch.device, dtype: torch.dtype, least: int = 2) -> Tensor:
    """Seeded normal samples `[B, *shape]`, `least` or more.

    Pictures get smooth patches too, since the averages over pure noise are alike for all samples.
    """
    batch = min(max(NUMBERS // max(int(torch.Size(shape).numel()), 1), least), MOST_SAMPLES)
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(batch, *shape, generator=draw)
    if len(shape) == 3 and min(shape[1:]) > SMOOTH:
        patches = torch.randn(batch, shape[0], SMOOTH, SMOOTH, generator=draw)
        x = 0.7 * x + F.interpolate(patches, size=tuple(shape[1:]), mode="bicubic")
    return x.to(device, dtype)


def tensors_in(outputs: object) -> list[Tensor]:
    """All tensors in what a model returns, whatever holds them."""
    return [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]


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
    return max(differences, key=lambda number: (math.isnan(number), number), default=0.0)
