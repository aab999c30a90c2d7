"""A trial of every group: what the model's own code cannot do without is found out before anyone plans to remove it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

from secateur.pipeline.errors import ModelError
from secateur.pipeline.plan.plan import Plan
from secateur.pipeline.structure.groups import Axis, Fixed, Group, Groups

CODE = "the model's own code does not run with fewer of them ({error})"
POSITIONS = "the model's own code relies on their number or order: without some of them it computes something else"


def tried(model: nn.Module, groups: Groups, example: Tensor) -> Groups:
    """The groups that survive a trial; the others are fixed, with the error that they cause as the reason.

    A third of the units of every group is removed at once. Where the small model then fails or differs from the
    masked one, halves of the groups are tried until those to blame are found.
    """
    blamed: dict[str, str] = {}
    while True:
        rest = [group for group in groups if group.name not in blamed]
        if not rest or not (found := _to_blame(model, groups, rest, example)):
            break
        blamed.update(found)
    if not blamed:
        return groups
    kept = tuple(group for group in groups if group.name not in blamed and group.parent not in blamed)
    if not kept:
        raise ModelError(f"nothing can be removed from this {type(model).__name__}: {next(iter(blamed.values()))}")
    fixed = tuple(
        Fixed(group.name, group.kind, group.units, blamed.get(group.name) or blamed[group.parent])
        for group in groups
        if group.name in blamed or group.parent in blamed
    )
    return replace(
        groups,
        architecture=groups.fingerprint(),
        groups=kept,
        fixed=(*groups.fixed, *fixed),
        terms=tuple(replace(term, axes=tuple(_without(axis, blamed) for axis in term.axes)) for term in groups.terms),
        norms={name: _without(axis, blamed) for name, axis in groups.norms.items()},
    )


def _without(axis: Axis, blamed: dict[str, str]) -> Axis:
    return replace(axis, members=tuple(member for member in axis.members if member[0] not in blamed))


def _to_blame(model: nn.Module, groups: Groups, some: Sequence[Group], example: Tensor) -> dict[str, str]:
    """The groups among `some` that cannot be removed from, with the reason; empty when all of them can."""
    reason = _failure(model, groups, some, example)
    if not reason:
        return {}
    if len(some) == 1:
        return {some[0].name: reason}
    half = len(some) // 2
    found = {
        **_to_blame(model, groups, some[:half], example),
        **_to_blame(model, groups, some[half:], example),
    }
    return found or {some[-1].name: reason}  # they disagree only with one another


def _failure(model: nn.Module, groups: Groups, some: Sequence[Group], example: Tensor) -> str:
    """Why a model without a third of these groups' units is not the masked one; empty when it is."""
    from secateur.pipeline.structure.proof import difference, tolerance
    from secateur.pipeline.structure.surgery import cut

    kept = {group.name: _third_gone(group) for group in some}
    plan = Plan(kept, groups.fingerprint(), groups.input_shape)
    try:
        small = cut(model, groups, plan)
        found = difference(model, small, groups, plan, batch=1)
    except Exception as error:
        return CODE.format(error=" ".join(str(error).split())[:160])
    return "" if found <= tolerance(model) else POSITIONS


def _third_gone(group: Group) -> tuple[int, ...]:
    """Every third unit gone, of each block alike; of few units, one."""
    width = group.units // group.blocks
    gone = range(1, width, 3) if width > 1 else range(0)
    return tuple(unit for unit in range(group.units) if unit % width not in gone)
