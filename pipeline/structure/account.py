"""The account of a model's parameters: each of their dimensions is in a group, or there is a reason why not."""

from __future__ import annotations

import numpy as np

from secateur.pipeline.structure.groups import Groups


def unaccounted(groups: Groups) -> tuple[tuple[str, int], ...]:
    """The dimensions (tensor, dim) of parameters with positions of which nothing is said; there should be none.

    A position is a unit of a group, or the dimension has a reason in `Groups.ungrouped`: it is fixed, an input or an
    output of the model. Dimensions of length one have nothing to remove.
    """
    return tuple(
        (name, dim)
        for name in sorted(groups.parameters)
        for dim, size in enumerate(groups.shapes[name])
        if size > 1 and (name, dim) not in groups.ungrouped and not _all_units(groups, name, dim)
    )


def _all_units(groups: Groups, name: str, dim: int) -> bool:
    """Whether every position of a dimension is a unit of some group."""
    axis = groups.axes.get((name, dim))
    members = [np.asarray(units) >= 0 for _, units in axis.members] if axis else []
    return bool(members) and bool(np.logical_or.reduce(members).all())
