"""From attributions of single activations to one score for each unit: the choices of Pruning by eXplaining."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from secateur.core.errors import PlanError, near_matches
from secateur.pipeline.scores.registry import check_images
from secateur.pipeline.statistics.capture import along, sum_by_unit
from secateur.pipeline.structure.groups import Groups

Aggregate = Literal["signed", "absolute_before", "absolute_after", "absolute_mean"]
AGGREGATES: tuple[Aggregate, ...] = get_args(Aggregate)
"""Where the absolute value is taken: nowhere, before the sum over tokens or space, after it, or of the mean."""


def check_aggregate(word: object) -> Aggregate:
    """The word itself; raises `PlanError` with the choices when it is no aggregate."""
    for aggregate in AGGREGATES:
        if word == aggregate:
            return aggregate
    hint = near_matches(str(word), AGGREGATES)
    raise PlanError(f"the aggregate is {word!r}, but must be one of {', '.join(AGGREGATES)}{hint}")


class Totals:
    """Streams attributions `[B, ...]` at the sites into mean scores `[units]`, or `[classes, units]` if `per_class`.

    The memory held does not grow with the number of images. Raises `PlanError` for an unknown aggregate.
    """

    def __init__(self, groups: Groups, aggregate: str, per_class: bool) -> None:
        self._groups = groups
        self._aggregate = check_aggregate(aggregate)
        self._per_class = per_class
        self._sums: dict[str, Tensor] = {}
        self._counts = torch.zeros(1, dtype=torch.float64)

    def add(self, at: Callable[[tuple[str, str]], Tensor], classes: Tensor, count: int) -> None:
        """Adds one batch: `at((module, side))` are the attributions there, `classes` `[B]` of `count` in all."""
        rows = classes.cpu() if self._per_class else torch.zeros(len(classes), dtype=torch.long)
        if not self._sums:
            self._counts = torch.zeros(count if self._per_class else 1, dtype=torch.float64)
        self._counts.index_add_(0, rows, torch.ones(len(classes), dtype=torch.float64))
        for group in self._groups:
            units: Tensor = torch.zeros(len(classes), group.units, dtype=torch.float64)
            for site in group.sites:
                values = along(at(site.key), site.dim, len(classes))
                values = values.abs() if self._aggregate == "absolute_before" else values
                units += sum_by_unit(values.sum(2).double().cpu(), site, group.units)
            units = units.abs() if self._aggregate == "absolute_after" else units
            if group.name not in self._sums:
                self._sums[group.name] = torch.zeros(len(self._counts), group.units, dtype=torch.float64)
            self._sums[group.name].index_add_(0, rows, units)

    def means(self) -> dict[str, Tensor]:
        """The mean over the images of each row; a class without images scores zero. Raises `DataError` without any."""
        check_images(len(self._sums))
        scores = {}
        for name, sums in self._sums.items():
            mean = sums / self._counts.clamp_min(1)[:, None]
            mean = mean.abs() if self._aggregate == "absolute_mean" else mean
            scores[name] = (mean if self._per_class else mean[0]).float()
        return scores
