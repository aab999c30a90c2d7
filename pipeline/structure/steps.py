"""Removal steps of a group: units that go together so that every resulting width keeps its alignment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from secateur.pipeline.structure.groups import READS, Group


@dataclass(frozen=True)
class Step:
    """Units of one group that are removed in one step, and their mean score.

    The steps of a group are a list from the least to the most important; removing a prefix of it leaves widths
    that are multiples of the alignment.
    """

    group: str
    units: tuple[int, ...]
    score: float


def removal_steps(
    group: Group, scores: NDArray[np.float64], align: int, least: int, left: Sequence[int] | None = None
) -> list[Step]:
    """The removal steps of a group, least important first; `scores` is `[units]`.

    `least` units stay in any case (per head, for per-head dimensions, whose steps take the same number of each
    head, so that the heads of a layer stay equal). The alignment is that of the resulting width: a head counts as
    many positions as it has. Only the units that are `left` are removed, where these are given: as many of each head
    that is left at all.
    """
    stays = np.ones(group.units, dtype=bool)
    if left is not None:
        stays[:] = False
        stays[list(left)] = True
    alive = stays.reshape(group.blocks, -1)
    heads = np.flatnonzero(alive.any(axis=1))
    if not len(heads):
        return []
    by_block = np.where(alive, scores.reshape(group.blocks, -1), -np.inf)[heads]  # what is gone comes first
    order = np.argsort(by_block, axis=1, kind="stable")
    width = by_block.shape[1]
    gone = width - int(alive[heads[0]].sum())
    size = step_size(group, align)
    first = (width - gone) % size or size  # afterwards what is left is a multiple of the size
    bounds = [gone, *range(gone + first, width + 1, size)]
    result: list[Step] = []
    for start, stop in pairwise(bounds):
        if width - stop < max(least, group.min_units):
            break
        columns = order[:, start:stop]
        units = (columns + heads[:, None] * width).ravel()
        value = float(np.take_along_axis(by_block, columns, axis=1).mean())
        result.append(Step(group.name, tuple(sorted(int(unit) for unit in units)), value))
    return result


def step_size(group: Group, align: int) -> int:
    """How many units a step removes (per block), so that the reader's width changes by a multiple of `align`."""
    if group.blocks > 1 or group.kind in ("qk_dim", "v_dim"):
        return align  # the width of every single head is aligned
    readers = [part for part in group.slices if part.role in READS] or list(group.slices)
    positions = min(sum(1 for unit in part.units if unit == 0) for part in readers)
    return int(align // np.gcd(align, max(positions, 1)))
