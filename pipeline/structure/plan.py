"""A plan: for each group, the sorted indices of the units that stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from numbers import Integral
from pathlib import Path
from typing import TypeGuard

import numpy as np

from secateur.core.errors import PlanError
from secateur.core.files import read_json, write_json
from secateur.core.html_table import html_table
from secateur.core.input_spec import InputSpec
from secateur.core.options import options_of
from secateur.pipeline.structure.groups import Groups


@dataclass(frozen=True)
class PlanFacts:
    """How a plan was made, and what it costs: `cost` and `limit` in the measure `budget` (latency in ms).

    `precisions` are those of the operations that are planned in other types than fp32, by the names of their terms.
    """

    budget: str
    limit: float
    cost: float
    macs: float
    macs_dense: float
    params: int
    params_dense: int
    allocate: str
    align: int
    score: str
    precisions: Mapping[str, str] = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        """How much of the dense model's cost is left: `49.8 % of the MACs, 52.1 % of the parameters`."""
        macs, params = (100 * self.macs / self.macs_dense, 100 * self.params / self.params_dense)
        return f"{macs:.1f} % of the MACs, {params:.1f} % of the parameters"


@dataclass(frozen=True, repr=False)
class Plan:
    """Which units stay: `kept[group]` is sorted; groups left out keep all their units.

    `fingerprint` is that of the `Groups` the plan was made for, `inputs` what the model is called with. A plan
    that was chosen by hand has no `facts`, which its file calls notes.

    >>> plan.save(Path("plan.json"))
    >>> sc.Plan.load(Path("plan.json")).kept == plan.kept
    True
    """

    kept: Mapping[str, tuple[int, ...]]
    fingerprint: str
    inputs: InputSpec
    facts: PlanFacts | None = None

    def __repr__(self) -> str:
        """How many groups are cut, and what that costs; the units that stay would fill many lines."""
        cost = f"; {self.facts.sentence}" if self.facts else ""
        return f"Plan({len(self.kept)} groups cut, {sum(map(len, self.kept.values()))} of their units stay{cost})"

    def _repr_html_(self) -> str:
        """The plan as a notebook shows it: how many units stay of each group that is cut."""
        return html_table(repr(self), ("group", "units kept"), [(name, len(kept)) for name, kept in self.kept.items()])

    def save(self, path: Path) -> None:
        """Writes the plan as JSON."""
        write_json(path, "plan", self.with_notes())

    def with_notes(self) -> dict[str, object]:
        """The plan as plain JSON values, with its facts as `from_json` reads them."""
        return {**self.to_json(), "notes": asdict(self.facts) if self.facts else {}}

    def to_json(self) -> dict[str, object]:
        """The plan as plain JSON values."""
        return {
            "fingerprint": self.fingerprint,
            "input_shape": self.inputs.to_json(),
            "kept": {name: list(units) for name, units in sorted(self.kept.items())},
        }

    @staticmethod
    def load(path: Path) -> Plan:
        """The plan in a JSON file; raises `RunError` for a file that is none."""
        return Plan.from_json(read_json(path, "plan"), str(path))

    @staticmethod
    def from_json(content: Mapping[str, object], where: str) -> Plan:
        """A plan from plain JSON values; raises `PlanError` naming `where` when they are none."""
        kept, shape, notes = content.get("kept"), content.get("input_shape"), content.get("notes", {})
        fingerprint = content.get("fingerprint")
        if not (isinstance(kept, dict) and isinstance(shape, list | dict) and isinstance(notes, dict) and fingerprint):
            raise PlanError(f"{where} holds no complete plan: make it again with `secateur plan`")
        try:
            units = {str(name): checked_units(str(name), units) for name, units in kept.items()}
            inputs = InputSpec.from_json(shape)
        except PlanError as error:
            raise PlanError(f"{where}: {error}: make the plan again with `secateur plan`") from error
        except (TypeError, ValueError, KeyError) as error:
            raise PlanError(f"{where} holds a plan that is no lists of numbers ({error})") from error
        facts = options_of(PlanFacts, notes, f"{where}: notes") if notes else None
        return Plan(units, str(fingerprint), inputs, facts)


def checked_units(name: str, units: object) -> tuple[int, ...]:
    """The units that stay of a group, as a plan has them: whole numbers from 0, sorted, each once.

    Raises `PlanError` for others.
    """
    if not isinstance(units, Sequence) or isinstance(units, str):
        raise PlanError(f"the group {name!r} keeps {str(units)[:40]!r}, which is no list of units")
    last = -1
    for unit in units:
        if not _is_whole(unit) or not last < unit < 2**31:
            after = f", after {last}" if last >= 0 else ""
            raise PlanError(
                f"the group {name!r} keeps the unit {str(unit)[:40]}{after}, but units are whole numbers from 0 on, "
                "sorted, each of them once"
            )
        last = int(unit)
    return tuple(int(unit) for unit in units)


def _is_whole(value: object) -> TypeGuard[int]:
    """Whether it is a whole number, of Python's or of NumPy's."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_fits(plan: Plan, groups: Groups) -> None:
    """Raises `PlanError` for a plan of groups or units that a model has not, or that are no whole numbers in order."""
    for name, units in plan.kept.items():
        count, kept = groups.named(name).units, checked_units(name, units)
        if kept and kept[-1] >= count:
            raise PlanError(f"the group {name!r} has the units 0 to {count - 1}, but the plan keeps {kept[-1]}")


def plan_from_kept(groups: Groups, kept: Mapping[str, Sequence[int]], facts: PlanFacts | None = None) -> Plan:
    """A checked and normalised plan: units sorted, blocks of removed heads emptied, complete groups left out.

    A head whose value dims are all gone goes too. Raises `PlanError` for an unknown group, a unit out of range or
    fewer units than a group must keep.
    """
    masks = {group.name: np.ones(group.units, dtype=bool) for group in groups}
    for name, units in kept.items():
        group = groups.named(name)
        if odd := [unit for unit in units if not _is_whole(unit)]:
            raise PlanError(f"the group {name!r} was asked to keep {odd[0]!r}, but units are whole numbers")
        chosen = np.asarray(sorted(set(units)), dtype=int)
        if chosen.size and (chosen[0] < 0 or chosen[-1] >= group.units):
            raise PlanError(f"the group {name!r} has the units 0 to {group.units - 1}, but {chosen.tolist()} was asked")
        masks[name][:] = False
        masks[name][chosen] = True
    for group in groups:  # a head without value dims computes nothing
        if group.parent and group.kind in ("v_dim", "qk_dim"):
            alive = masks[group.name].reshape(group.blocks, -1).any(axis=1)
            masks[group.parent] &= alive
    for group in groups:
        if group.parent:
            masks[group.name].reshape(group.blocks, -1)[~masks[group.parent]] = False
    for group in groups:
        blocks = masks[group.name].reshape(group.blocks, -1).sum(axis=1)
        if group.parent:
            blocks = blocks[masks[group.parent]]
        if blocks.size and blocks.min() < group.min_units:
            raise PlanError(
                f"the group {group.name!r} would keep {blocks.min()} units, but must keep {group.min_units} at least"
            )
    whole = {n: tuple(int(i) for i in np.flatnonzero(m)) for n, m in masks.items() if not m.all()}
    return Plan(whole, groups.fingerprint(), groups.inputs, facts)
