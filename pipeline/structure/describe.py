"""A model's groups as plain values, for groups.json and `secateur inspect`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.steps import step_size


def describe(groups: Groups, align: int = 8) -> dict[str, Any]:
    """The groups with their units, parameters and share of the MACs, and what is fixed with the reason.

    A group's parameters and MACs are those that would go with all of its units; groups of one layer overlap. A plan
    removes `step` units at a time (of each block), so that widths stay multiples of `align`.
    """
    macs, params = groups.macs(), groups.params()
    rows = []
    for group in groups:
        gone = {group.name: ()}
        rows.append(
            {
                "name": group.name,
                "kind": group.kind,
                "units": group.units,
                "blocks": group.blocks,
                "parent": group.parent,
                "family": group.family,
                "params": params - groups.params(gone),
                "macs_share": (macs - groups.macs(gone)) / macs,
                "min_units": group.min_units,
                "step": step_size(group, align),
            }
        )
    return {
        "fingerprint": groups.fingerprint(),
        "input_shape": list(groups.input_shape),
        "macs": macs,
        "params": params,
        "align": align,
        "groups": rows,
        "fixed": [asdict(item) for item in groups.fixed],
    }
