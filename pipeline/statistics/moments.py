"""Second moments of what layers read, gathered in one pass over the images and bounded in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from secateur.core.errors import DataError
from secateur.core.model_inputs import call, moved, samples_of
from secateur.core.modules import device_of, frozen
from secateur.pipeline.data.loader import Batches
from secateur.pipeline.statistics.capture import observed
from secateur.pipeline.structure.groups import Site

BLOCKS, LEAST_BLOCK = 8, 64
"""Outer products are summed by so many blocks of rows, or by fewer of at least so many rows each."""


@dataclass
class Moments:
    """The count (or the sum of weights), the sum `[d]` and the sum of outer products `[d, d]` of rows, in float64.

    Since outer products are symmetric, `upper` holds them on and above the diagonal only; `outer` has them all.
    """

    count: float
    total: Tensor
    upper: Tensor

    @staticmethod
    def empty(width: int, device: torch.device) -> Moments:
        """Moments of no rows yet."""
        zeros = torch.zeros(width + 1, width, dtype=torch.float64, device=device)
        return Moments(0, zeros[0], zeros[1:])

    def add(self, rows: Tensor, weights: Tensor | None = None) -> None:
        """Adds rows `[..., d]`, each with its weight `[...]` (1 without).

        The products of one call are summed in the precision of the rows, the calls in float64.
        """
        x = rows.reshape(-1, rows.shape[-1])
        x = x if x.dtype in (torch.float32, torch.float64) else x.float()  # products of half precision overflow
        if weights is None:
            weighted, self.count = x, self.count + len(x)
        else:
            weighted = x * weights.reshape(-1, 1)
            self.count += float(weights.sum(dtype=torch.float64))
        self.total += weighted.sum(0)
        width = x.shape[1]
        for first in range(0, width, step := max(LEAST_BLOCK, -(-width // BLOCKS))):
            self.upper[first : first + step, first:] += weighted[:, first : first + step].T @ x[:, first:]

    @property
    def outer(self) -> Tensor:
        """The sum of outer products, `[d, d]`."""
        upper = self.upper.triu()
        return upper + upper.triu(1).T

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.count + other.count, self.total + other.total, self.upper + other.upper)

    @property
    def mean(self) -> Tensor:
        """The mean row, `[d]`."""
        return self.total / self.count

    @property
    def second(self) -> Tensor:
        """The mean outer product, `[d, d]`: the second moment about zero."""
        return self.outer / self.count

    @property
    def covariance(self) -> Tensor:
        """The covariance of the rows, `[d, d]`."""
        return self.second - torch.outer(self.mean, self.mean)


@dataclass(frozen=True)
class Probe:
    """Rows `[B, positions, d]` made from the tensor at one side of a module."""

    module: str
    side: Literal["input", "output"]
    rows: Callable[[Tensor], Tensor]


def gather_moments(
    model: nn.Module, probes: Mapping[str, Probe], loader: Batches, folds: int = 1
) -> dict[str, list[Moments]]:
    """For each probe, by name, the moments of its rows in each fold.

    The images go to the folds in turn, whatever the batches. Memory does not grow with the number of images. Raises
    `DataError` when there are fewer images than folds.
    """
    device = device_of(model)
    sites = [Site(probe.module, probe.side, -1, ()) for probe in probes.values()]

    def batches() -> Iterator[tuple[int, dict[str, Tensor]]]:
        for images, _ in loader:
            call(model, moved(images, device))
            yield (
                samples_of(images),
                {name: probe.rows(values[probe.module, probe.side]) for name, probe in probes.items()},
            )

    with frozen(model), torch.no_grad(), observed(model, sites) as values:
        return fold_moments(batches(), folds)


def fold_moments(batches: Iterable[tuple[int, Mapping[str, Tensor]]], folds: int) -> dict[str, list[Moments]]:
    """By name, the moments in each fold of the rows of batches: the number of samples, and rows `[..., d]` by name.

    The rows of a sample lie together, whatever their number; samples go to the folds in turn. Raises `DataError` when
    there are fewer samples than folds.
    """
    found: dict[str, list[Moments]] = {}
    samples = 0
    for count, every in batches:
        for name, rows in every.items():
            if name not in found:
                found[name] = [Moments.empty(rows.shape[-1], rows.device) for _ in range(folds)]
            by_sample = rows.reshape(count, -1, rows.shape[-1])
            for moments, part in zip(found[name], in_turn(by_sample, samples, folds), strict=True):
                moments.add(part)
        samples += count
    if samples < folds:
        raise DataError(
            f"{samples or 'no'} images cannot give {folds} sets of statistics: give at least {folds} images"
        )
    return found


def in_turn(rows: Tensor, before: int, folds: int) -> Iterator[Tensor]:
    """The rows `[B, ...]` of each fold, where samples go to the folds in turn and `before` of them went already."""
    return (rows[(fold - before) % folds :: folds] for fold in range(folds))
