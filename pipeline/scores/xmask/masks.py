"""The masks of all groups: whole, or of a low rank where classes times units would be too many."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from secateur.pipeline.scores.xmask.method import Smooth
from secateur.pipeline.structure.groups import Group

INITIAL_SPREAD = 0.1


class Masks(nn.Module):
    """Factors `[classes, units]` for each group, all 1 at first: whole, or `1 b^T + A B` with `rank` columns in `A`.

    `A` is drawn from the seed and `B` is 0, so that both are learned.
    """

    def __init__(self, groups: Sequence[Group], classes: int, rank: int, seed: int) -> None:
        super().__init__()
        self.classes = classes
        self.sizes = {group.name: group.units for group in groups}
        self._blocks = {group.name: group.blocks for group in groups}
        units = sum(self.sizes.values())
        self.common = nn.Parameter(torch.ones(units))
        if rank:
            drawn = torch.randn(classes, rank, generator=torch.Generator().manual_seed(seed))
            self.of_classes = nn.Parameter(INITIAL_SPREAD * drawn)
            self.of_units = nn.Parameter(torch.zeros(rank, units))
        else:
            self.common.requires_grad_(False)
            self.whole = nn.Parameter(torch.zeros(classes, units))
        self.rank = rank

    def rows(self, labels: Tensor) -> dict[str, Tensor]:
        """The factors `[B, units]` of each group for samples of these labels `[B]`."""
        own = self.of_classes[labels] @ self.of_units if self.rank else self.whole[labels]
        return dict(zip(self.sizes, torch.split(self.common + own, list(self.sizes.values()), 1), strict=True))

    def every(self) -> dict[str, Tensor]:
        """The factors `[classes, units]` of each group."""
        return self.rows(torch.arange(self.classes, device=self.common.device))

    def sparsity(self) -> Tensor:
        """The squares of all factors: the mean over classes, the sum over units."""
        return self._squares(lambda rows: rows, lambda units: units) / self.classes

    def roughness(self, smooth: Smooth) -> Tensor:
        """The squared differences of the factors, from class to class or along the units of each group.

        Along units they are second differences (a Laplacian), within the heads of per-head dimensions. The mean over
        classes (or pairs of them), the sum over units.
        """
        if smooth == "units":
            return self._squares(lambda rows: rows, self._laplacian) / self.classes
        return self._squares(lambda rows: rows.diff(dim=0), lambda units: units) / max(self.classes - 1, 1)

    def _squares(self, along_classes: Callable[[Tensor], Tensor], along_units: Callable[[Tensor], Tensor]) -> Tensor:
        """The sum of squares of the factors after a linear map of their rows and one of their columns.

        At a low rank the factors are never multiplied out: |a 1 b^T + A B|^2 needs products of rank size only.
        """
        ones = along_classes(torch.ones(self.classes, 1, device=self.common.device))
        common = along_units(self.common)
        if not self.rank:
            return (ones * common + along_units(along_classes(self.whole))).square().sum()
        left = torch.cat([ones, along_classes(self.of_classes)], 1)
        right = torch.cat([common[None], along_units(self.of_units)])
        return ((left.T @ left) * (right @ right.T)).sum()

    def _laplacian(self, units: Tensor) -> Tensor:
        """Second differences of `[..., units]` within each block of each group."""
        parts = []
        for name, part in zip(self.sizes, torch.split(units, list(self.sizes.values()), -1), strict=True):
            blocks = part.reshape(*part.shape[:-1], self._blocks[name], -1)
            parts.append(blocks.diff(n=2, dim=-1).flatten(-2))
        return torch.cat(parts, -1)
