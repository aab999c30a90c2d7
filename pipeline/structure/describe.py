"""A model's groups as a table: what `secateur inspect` shows, and groups.json of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secateur.core.records import read_record, write_record
from secateur.pipeline.structure.codegen.calls import called
from secateur.pipeline.structure.groups import Fixed, Groups, Kind, Unverifiable
from secateur.pipeline.structure.steps import step_size


@dataclass(frozen=True)
class GroupRow:
    """One group: its units, and the parameters and the share of the MACs that would go with all of them.

    Units of heads lie in `blocks`, and `parent` is the group of these heads. A plan removes `step` units at a time (of
    each block), so that widths stay multiples of the table's `align`, and leaves `min_units` at least.
    """

    name: str
    kind: Kind
    units: int
    blocks: int
    parent: str
    family: str
    params: int
    macs_share: float
    min_units: int
    step: int


@dataclass(frozen=True)
class GroupTable:
    """What can be removed from a model and what is `fixed` or `unverifiable`, and why.

    `input_shape` is that of one sample, or what `InputSpec.to_json` says of several inputs. `macs` leaves out those
    of the operations `uncounted`. `one_size` are the modules that, once pruned, take inputs of that size only.
    """

    fingerprint: str
    input_shape: Any
    macs: float
    params: int
    align: int
    groups: tuple[GroupRow, ...]
    fixed: tuple[Fixed, ...]
    unverifiable: tuple[Unverifiable, ...] = ()
    uncounted: tuple[str, ...] = ()
    one_size: tuple[str, ...] = ()

    def save(self, path: Path) -> None:
        """Writes the table as JSON."""
        write_record(path, "groups", self)

    @staticmethod
    def load(path: Path) -> GroupTable:
        """The table in a file; raises `RunError` for a file that is none."""
        return read_record(path, "groups", GroupTable)


def describe(groups: Groups, align: int = 8) -> GroupTable:
    """The table of the groups; those of one layer overlap, so that their shares add up to more than the whole.

    >>> table = sc.describe(groups, align=4)
    >>> table.macs == groups.macs(), [(row.kind, row.step) for row in table.groups[1:3]]
    (True, [('head', 1), ('v_dim', 4)])
    """
    macs, params = groups.macs(), groups.params()
    rows = [
        GroupRow(
            name=group.name,
            kind=group.kind,
            units=group.units,
            blocks=group.blocks,
            parent=group.parent,
            family=group.family,
            params=params - groups.params({group.name: ()}),
            macs_share=(macs - groups.macs({group.name: ()})) / macs,
            min_units=group.min_units,
            step=step_size(group, align),
        )
        for group in groups
    ]
    return GroupTable(
        groups.fingerprint(),
        groups.inputs.to_json(),
        macs,
        params,
        align,
        tuple(rows),
        groups.fixed,
        groups.unverifiable,
        groups.uncounted,
        tuple(map(called, groups.one_size)),
    )
