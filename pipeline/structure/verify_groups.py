"""Removes from every group before anyone plans to: what the model's own code cannot do without is found out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from torch import nn

from secateur.pipeline.structure.blame import alike, near, to_blame, without
from secateur.pipeline.structure.codegen.calls import CodeError
from secateur.pipeline.structure.comparison import MARGIN, Comparison
from secateur.pipeline.structure.equivalence import unverifiable
from secateur.pipeline.structure.groups import Group, Groups, Kind
from secateur.pipeline.structure.removal import Failure, compared, takes_over

KINDS_IN_THE_WAY: tuple[tuple[Kind, ...], ...] = (
    ("qk_dim",),
    ("v_dim",),
    ("qk_dim", "v_dim"),
    ("qk_dim", "v_dim", "head"),
)
"""What is left alone, one after the other, so that code can be taken over for everything else."""


def verify_groups(model: nn.Module, groups: Groups) -> Groups:
    """The groups that can be removed from; the others are fixed, with the error that they cause as the reason.

    A part of the units of every group is removed at once. A module that fails, and with a second one of its class all
    of it, has its code taken over from the graph (`traced`). Where that is not enough, halves of the groups are tried
    until those to blame are found. What was taken over and does not help is given back. Groups of which a mistake would
    not be seen are told (`Groups.unverifiable`). Code that shuffles units is taken over from the start: what is left of
    these by chance may be in order.
    """
    groups = replace(groups, architecture=groups.fingerprint(), adapted=_shuffling(model, groups))
    blamed, hopeless = dict[str, str](), dict[str, str]()
    took_all = False
    while rest := [group for group in groups if group.name not in blamed]:
        failure = compared(model, groups, rest)
        if isinstance(failure, Failure) and failure.hopeless:
            left = _given_back(groups, failure.hopeless)
            if took_all and isinstance(again := compared(model, left, rest), Comparison):
                groups, failure = left, again  # the code of these does no harm
            elif found := _in_the_way(model, groups, rest, failure):
                blamed.update(found)
                continue
            else:
                hopeless.update(failure.hopeless)
                groups = left
                continue
        if isinstance(failure, Comparison):
            if took_all or blamed or hopeless:
                groups, failure = _least(model, groups, rest, failure)
            hidden = unverifiable([group.name for group in rest], failure.sensitivity(), MARGIN * failure.tolerance)
            assert groups.traced is not None  # for the type checker: `find_groups` has just set it
            one_size = tuple(filter(groups.traced.one_size, groups.adapted))
            groups = replace(groups, unverifiable=hidden, one_size=one_size)
            break
        adapted = _adapted(model, groups, failure, took_all, hopeless)
        took_all = took_all or failure.module is None
        if len(adapted) > len(groups.adapted):
            groups = replace(groups, adapted=adapted)
        else:
            blamed = {**to_blame(model, groups, rest, failure, hopeless), **blamed}
    return without(groups, blamed) if blamed else groups


def _shuffling(model: nn.Module, groups: Groups) -> tuple[str, ...]:
    """The modules whose code shuffles units, and can be taken over."""
    assert groups.traced is not None  # for the type checker: `find_groups` has just set it
    found = groups.traced.shuffling
    return tuple(name for name, one in model.named_modules() if name in found and takes_over(groups, name, one))


def _given_back(groups: Groups, modules: Collection[str]) -> Groups:
    """The groups with the code of some modules not taken over."""
    return replace(groups, adapted=tuple(name for name in groups.adapted if name not in modules))


def _least(model: nn.Module, groups: Groups, some: Sequence[Group], agreed: Comparison) -> tuple[Groups, Comparison]:
    """The groups with as few modules taken over as these need, class by class, and the comparison that shows it."""
    kinds: dict[type[nn.Module], list[str]] = {}
    assert groups.traced is not None  # for the type checker: `find_groups` has just set it
    for name in groups.adapted:
        if name not in groups.traced.shuffling:
            kinds.setdefault(type(model.get_submodule(name)), []).append(name)
    parts = [list(kinds.values())]
    while parts:
        part = parts.pop()
        left = _given_back(groups, [name for names in part for name in names])
        found = compared(model, left, some) if part else None
        if isinstance(found, Comparison):
            groups, agreed = left, found
        elif len(part) > 1:
            parts += [part[len(part) // 2 :], part[: len(part) // 2]]
    return groups, agreed


def _in_the_way(model: nn.Module, groups: Groups, some: Sequence[Group], failure: Failure) -> dict[str, str]:
    """Dimensions of heads without which the code of more modules can be taken over, with the reason; none for most.

    Code that treats several heads, or queries, keys and values, as one tensor needs the same number of each.
    """
    tried: set[tuple[str, ...]] = {()}
    for kinds in KINDS_IN_THE_WAY:
        chosen = {
            group.name: str(CodeError(module, reason))
            for module, reason in failure.hopeless.items()
            for group in some
            if group.kind in kinds and any(near(part.tensor, module) for part in group.slices)
        }
        if tuple(chosen) in tried:
            continue
        tried.add(tuple(chosen))
        rest = [group for group in some if group.name not in chosen]
        again = compared(model, groups, rest) if rest else None
        left = set(again.hopeless) if isinstance(again, Failure) else set()
        if again is not None and left < set(failure.hopeless):
            return {
                name: reason
                for name, reason in chosen.items()
                if not any(near(part.tensor, module) for module in left for part in groups.named(name).slices)
            }
    return {}


def _adapted(
    model: nn.Module, groups: Groups, failure: Failure, took_all: bool, hopeless: Collection[str]
) -> tuple[str, ...]:
    """The modules whose code is taken over now: those that were, and those that may have caused the failure.

    A layer that fails was called wrongly by the module around it; where that is not the first of its class, all of the
    class are taken over. A model that runs and computes something else has some module that cuts at a fixed position:
    all that have code of their own may be it.
    """
    modules = {name: module for name, module in model.named_modules() if name not in hopeless}
    found = set(groups.adapted)
    if failure.module is None:
        able = (name for name, module in modules.items() if takes_over(groups, name, module))
        found.update(() if took_all else able)
    elif names := alike(model, groups, failure.module, {*hopeless, *found}):
        known = {type(model.get_submodule(name)) for name in (*hopeless, *found)}
        found.update(names if type(modules[names[0]]) in known else names[:1])
    return tuple(name for name in modules if name in found)
