"""What a score said of each group's units: all of them by rank, with the threshold below which they went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from secateur.pipeline.scores.score import Scores
from secateur.pipeline.structure.describe import GroupRow
from secateur.pipeline.structure.groups import Kind

BINS = 40
"""At most so many bars a curve; of more units, neighbours in rank share one."""


@dataclass(frozen=True)
class RankBar:
    """The units of some neighbouring ranks: the `height` of their mean score and the part `kept`, in percent."""

    place: float
    width: float
    height: float
    kept: float


@dataclass(frozen=True)
class ScoreCurve:
    """One group's scores, the largest first. `threshold` is the least score of a unit that stayed.

    Heights are square roots of scores, as shares of the largest. `above` counts the units that went with a higher
    score than the threshold, because widths go in steps or heads go whole. Without units that stayed, the threshold is
    None.
    """

    name: str
    kind: Kind
    units: int
    kept: int
    bars: tuple[RankBar, ...]
    threshold: float | None
    level: float
    above: int

    @property
    def said(self) -> str:
        """What the curve shows, in a sentence."""
        start = f"{self.name}: {self.kept:,} of {self.units:,} stayed"
        if self.threshold is None:
            return start
        odd = f"; {self.above:,} with a higher score went, for widths go in steps" if self.above else ""
        return f"{start}, with scores of {self.threshold:.3g} and more{odd}"


def score_curves(groups: Sequence[GroupRow], scores: Scores, kept: Mapping[str, Sequence[int]]) -> list[ScoreCurve]:
    """A curve for each group that was scored and has lost units."""
    return [_curve(row, scores, kept[row.name]) for row in groups if row.name in scores.values and row.name in kept]


def _curve(row: GroupRow, scores: Scores, kept: Sequence[int]) -> ScoreCurve:
    values = scores.by_unit(row.name).double().numpy()
    stays = np.zeros(row.units, dtype=bool)
    stays[list(kept)] = True
    threshold = float(values[stays].min()) if len(kept) else None
    order = np.argsort(-values, kind="stable")
    least = min(float(values.min()), 0.0)  # scores may be signed: then the lowest is the bottom
    scale = float(values.max()) - least or 1.0
    heights = np.sqrt((values - least) / scale) * 100
    bars, start = [], 0
    for part in np.array_split(order, min(BINS, row.units)):
        place, width = 100 * start / row.units, 100 * len(part) / row.units
        bars.append(RankBar(place, width, float(heights[part].mean()), float(100 * stays[part].mean())))
        start += len(part)
    return ScoreCurve(
        name=row.name,
        kind=row.kind,
        units=row.units,
        kept=len(kept),
        bars=tuple(bars),
        threshold=threshold,
        level=0.0 if threshold is None else float(np.sqrt((threshold - least) / scale) * 100),
        above=0 if threshold is None else int((~stays & (values > threshold)).sum()),
    )
