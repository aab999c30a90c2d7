"""Which groups a model's own code cannot do without, and the reason that is told."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from torch import nn

from secateur.pipeline.structure.codegen.calls import CodeError
from secateur.pipeline.structure.groups import Axis, Fixed, Group, Groups
from secateur.pipeline.structure.removal import Failure, compared, takes_over

AnyAxis = TypeVar("AnyAxis", bound=Axis)


def to_blame(
    model: nn.Module, groups: Groups, some: Sequence[Group], failure: Failure, hopeless: Mapping[str, str]
) -> dict[str, str]:
    """The groups among `some` that cannot be removed from, with the reason; `failure` is what all together caused.

    Those at the same places of other modules of the class that failed are among them: the reason is the same. Where
    the code that fails is that of a module that is `hopeless` to take over, the reason says why.
    """
    found = _halved(model, groups, some, failure)
    others = _at_alike(model, groups, found, failure.module)
    return {name: _told(groups.named(name), one, hopeless) for name, one in {**others, **found}.items()}


def _halved(model: nn.Module, groups: Groups, some: Sequence[Group], failure: Failure) -> dict[str, Failure]:
    """The groups among `some` that cannot be removed from, each with what it causes."""
    module = failure.module
    around = [] if module is None else [g for g in some if any(near(part.tensor, module) for part in g.slices)]
    if 0 < len(around) < len(some):
        again = compared(model, groups, around)
        if isinstance(again, Failure):
            return _halved(model, groups, around, again)
    if len(some) == 1:
        return {some[0].name: failure}
    half = len(some) // 2
    found: dict[str, Failure] = {}
    for part in (some[:half], some[half:]):
        again = compared(model, groups, part)
        if isinstance(again, Failure):
            found |= _halved(model, groups, part, again)
    return found or {some[-1].name: failure}  # they disagree only with one another


def alike(model: nn.Module, groups: Groups, path: str, leave: Collection[str] = ()) -> list[str]:
    """The innermost module around `path` whose code can be taken over, those to `leave` aside, and all of its class."""
    modules = dict(model.named_modules())
    able = [name for name, one in modules.items() if name not in leave and takes_over(groups, name, one)]
    around = [name for name in able if near(path, name)]
    if not around:
        return []
    kind = type(modules[around[-1]])
    return [around[-1], *(name for name in able if type(modules[name]) is kind and name != around[-1])]


def _at_alike(model: nn.Module, groups: Groups, found: Mapping[str, Failure], module: str | None) -> dict[str, Failure]:
    """The groups at the same place of other modules of the class whose code fails: the innermost one around it."""
    names = [] if module is None else alike(model, groups, module)
    places = {
        (groups.named(name).kind, inner): failure
        for name, failure in (found.items() if names else ())
        if (inner := _inside(groups.named(name), names[0]))
    }
    return {
        group.name: replace(places[group.kind, inner], module=other)
        for other in names[1:]
        for group in groups
        if (group.kind, (inner := _inside(group, other))) in places
    }


def _told(group: Group, failure: Failure, hopeless: Mapping[str, str]) -> str:
    """The reason, with why the code of the innermost module that fails, or holds the group, could not be taken over."""
    if failure.hopeless:
        return failure.reason
    paths = [part.tensor for part in group.slices] if failure.module is None else [failure.module]
    around = [name for name in hopeless if any(near(path, name) for path in paths)]
    if not around:
        return failure.reason
    name = max(around, key=len)
    return f"{failure.reason}, and {CodeError(name, hopeless[name])}"


def _inside(group: Group, module: str) -> frozenset[str]:
    """The names within a module of the tensors that a group has there."""
    return frozenset(part.tensor.removeprefix(f"{module}.") for part in group.slices if near(part.tensor, module))


def near(path: str, module: str) -> bool:
    """Whether a tensor or module at `path` lies within a module, or is it."""
    return not module or f"{path}.".startswith(f"{module}.")


def without(groups: Groups, blamed: Mapping[str, str]) -> Groups:
    """The groups without those to blame, which are fixed; dimensions of heads that stay may go on their own."""

    def left(axis: AnyAxis) -> AnyAxis:
        return replace(axis, members=tuple(member for member in axis.members if member[0] not in blamed))

    fixed = [Fixed(g.name, g.kind, g.units, blamed[g.name]) for g in groups if g.name in blamed]
    gone = {(part.tensor, part.dim): blamed[g.name] for g in groups if g.name in blamed for part in g.slices}
    return replace(
        groups,
        groups=tuple(
            replace(group, parent="") if group.parent in blamed else group
            for group in groups
            if group.name not in blamed
        ),
        fixed=(*groups.fixed, *fixed),
        ungrouped={**gone, **groups.ungrouped},
        terms=tuple(replace(term, axes=tuple(map(left, term.axes))) for term in groups.terms),
        norms={name: left(axis) for name, axis in groups.norms.items()},
    )
