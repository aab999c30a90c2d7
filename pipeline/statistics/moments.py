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


@dataclass
class Moments:
    """The count (or the sum of weights), the sum `[d]` and the sum of outer products `[d, d]` of rows, in float64."""

    count: float
    total: Tensor
    outer: Tensor

    @staticmethod
    def empty(width: int, device: torch.device) -> Moments:
        """Moments of no rows yet."""
        zeros = torch.zeros(width + 1, width, dtype=torch.float64, device=device)
        return Moments(0, zeros[0], zeros[1:])

    def add(self, rows: Tensor, weights: Tensor | None = None) -> None:
        """Adds rows `[..., d]`, each with its weight `[...]` (1 without)."""
        x = rows.reshape(-1, rows.shape[-1])
        x = x if x.dtype in (torch.float32, torch.float64) else x.float()  # products of half precision overflow
        if weights is None:
            weighted, self.count = x, self.count + len(x)
        else:
            weighted = x * weights.reshape(-1, 1)
            self.count += float(weights.sum(dtype=torch.float64))
        self.total += weighted.sum(0, dtype=torch.float64)
        self.outer += (weighted.T @ x).double()  # one batch in the model's precision, the sum over batches in float64

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.count + other.count, self.total + other.total, self.outer + other.outer)

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
        turn = (torch.arange(count) + samples) % folds
        samples += count
        for name, rows in every.items():
            by_sample = rows.reshape(count, -1, rows.shape[-1])
            if name not in found:
                found[name] = [Moments.empty(rows.shape[-1], rows.device) for _ in range(folds)]
            for place, moments in enumerate(found[name]):
                moments.add(by_sample[turn == place])
    if samples < folds:
        raise DataError(
            f"{samples or 'no'} images cannot give {folds} sets of statistics: give at least {folds} images"
        )
    return found
