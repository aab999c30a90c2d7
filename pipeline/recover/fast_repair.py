"""Small models of many widths that inherit from one dense model, whose statistics are gathered once for all."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from secateur.pipeline.data.loader import Batches
from secateur.pipeline.recover.compensate import FOLDS, gather_statistics, refit
from secateur.pipeline.recover.narrowed import narrowed_by
from secateur.pipeline.recover.norm_statistics import norm_statistics
from secateur.pipeline.structure.canonical import canonical
from secateur.pipeline.structure.groups import Groups, Kept
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.surgery import cut

RIDGE = 1e-3


class FastRepair:
    """Makes small models: surgery, then the refit of every layer that reads less, without another look at images.

    Only layers behind a normalisation over fewer features (a narrower residual stream) need the images again.

    Units of the groups of `kinds` may go. Each candidate costs the solves of its layers at the one ridge `RIDGE`;
    batch normalisations keep their statistics. Raises `DataError` for fewer than two images.
    """

    def __init__(self, dense: nn.Module, groups: Groups, kinds: Sequence[str], loader: Batches) -> None:
        self._dense, self._groups = canonical(dense), groups
        self._loader = loader
        self._statistics = gather_statistics(dense, groups, kinds, loader)

    def __call__(self, kept: Kept) -> nn.Module:
        """The model that keeps these units, repaired."""
        plan = plan_from_kept(self._groups, kept)
        small = cut(self._dense, self._groups, plan)
        narrowed = narrowed_by(self._dense, self._groups, plan)
        behind_norms = norm_statistics(small, self._dense, narrowed, self._loader, FOLDS)
        refit(small, self._dense, narrowed, {**self._statistics, **behind_norms}, (RIDGE,))
        return small
