"""Which heads serve which classes: a clustered heatmap, and the units that serve one class alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import pdist

from secateur.benchmarks.figure_text import figure_text
from secateur.pipeline.scores.score import Scores
from secateur.pipeline.structure.describe import GroupRow

TOP, LOW = 0.1, 0.5
"""A unit serves a class alone when it is among the first tenth there and in the lower half for every other class."""
LABELLED = 60
"""At most so many rows or columns have their names written beside them."""
GREY = "#7d7d7d"
"""What can be read on a white and on a black page."""
ByClass = Mapping[str, NDArray[np.float64]]
"""For each group, by name, `[classes, units]`."""
Sole = tuple[str, int, int]
"""A group, a unit of it, and the one class that it serves."""


def class_map(groups: Sequence[GroupRow], scores: ByClass, names: Sequence[str]) -> Figure | None:
    """For each class (rows) how much more each head matters to it than to the mean class (columns), both clustered.

    A head is a unit of a group of heads, or else a block of value dims; where there are none, a whole group is one
    column. A class's scores are taken relative to their mean first, for those of a hard class are larger everywhere;
    then differences are relative to the head's mean. Classes without images are left out. None without class-wise
    scores.
    """
    labels, columns = _columns(groups, scores)
    if not columns:
        return None
    values = np.abs(np.stack(columns, axis=1))
    there = np.flatnonzero(values.any(axis=1))
    values, rows = values[there], [names[row] for row in there.tolist()]
    values = values / values.mean(axis=1, keepdims=True)
    contrast = values / values.mean(axis=0).clip(min=1e-30) - 1
    order, across = clustered(contrast), clustered(contrast.T)
    limit = float(np.quantile(np.abs(contrast), 0.99)) or 1.0
    figure = Figure(figsize=(max(7.0, 0.16 * len(labels) + 2), max(3.0, min(0.16 * len(rows), 12) + 1)))
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    image = axes.imshow(contrast[order][:, across], cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    _ticks(axes.set_xticks, [labels[i] for i in across], rotation=90)
    _ticks(axes.set_yticks, [rows[i] for i in order], rotation=0)
    axes.tick_params(labelsize=6, colors=GREY)
    bar = figure.colorbar(image, ax=axes, shrink=0.7)
    bar.set_label("above the mean class", color=GREY)
    bar.ax.tick_params(colors=GREY)
    figure.patch.set_alpha(0)
    return figure


def class_wise(scores: Scores) -> ByClass:
    """The scores that are class-wise; empty where none are."""
    return {name: value.double().numpy() for name, value in scores.values.items() if value.ndim == 2}


def sole_units(groups: Sequence[GroupRow], scores: ByClass) -> list[Sole]:
    """The units that serve one class alone, with the number of that class.

    Units are ranked by absolute score among all of their kind, class by class (`TOP`, `LOW`).
    """
    found = []
    kinds: dict[str, list[str]] = {}
    for group in groups:
        if group.name in scores:
            kinds.setdefault(group.kind, []).append(group.name)
    for names in kinds.values():
        values = np.abs(np.concatenate([scores[name] for name in names], axis=1))
        seen = np.flatnonzero(values.any(axis=1))  # a class without images scores zero
        values = values[seen]
        share = values.argsort(axis=1).argsort(axis=1) / max(values.shape[1] - 1, 1)
        places = [(name, unit) for name in names for unit in range(scores[name].shape[1])]
        alone = (share >= 1 - TOP) & ((share < LOW).sum(axis=0) == len(share) - 1)
        found += [(*places[column], int(seen[row])) for row, column in zip(*np.nonzero(alone), strict=True)]
    return found


def clustered(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """The rows in an order that puts like ones side by side (average linkage, optimal leaf order)."""
    if len(values) < 3:
        return np.arange(len(values))
    order: NDArray[np.int64] = leaves_list(linkage(pdist(values), "average", optimal_ordering=True)).astype(np.int64)
    return order


def _columns(groups: Sequence[GroupRow], scores: ByClass) -> tuple[list[str], list[NDArray[np.float64]]]:
    """The names and the scores `[classes]` of all heads, or else of all groups."""
    wise = [group for group in groups if group.name in scores]
    for kind in ("head", "v_dim"):
        heads = [
            (f"{group.name.removesuffix('.heads')}.{number}", part)
            for group in wise
            if group.kind == kind
            for number, part in enumerate(_heads(scores[group.name], group))
        ]
        if heads:
            return [name for name, _ in heads], [part for _, part in heads]
    return [group.name for group in wise], [np.abs(scores[group.name]).mean(axis=1) for group in wise]


def _heads(values: NDArray[np.float64], group: GroupRow) -> NDArray[np.float64]:
    """The scores `[heads, classes]` of a group."""
    if group.kind == "head":
        return values.T
    blocks: NDArray[np.float64] = np.abs(values).reshape(len(values), group.blocks, -1).mean(axis=2)
    return blocks.T


def _ticks(put: Any, labels: list[str], rotation: int) -> None:
    named = [figure_text(label) for label in labels] if len(labels) <= LABELLED else []
    put(range(len(named)), named, rotation=rotation)
