"""Removes from every group before anyone plans to: what the model's own code cannot do without is found out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from secateur.pipeline.structure.codegen.calls import CodeError
from secateur.pipeline.structure.comparison import MARGIN, Comparison, compare
from secateur.pipeline.structure.cutting import cut
from secateur.pipeline.structure.equivalence import unverifiable
from secateur.pipeline.structure.groups import Axis, Fixed, Group, Groups, Kind
from secateur.pipeline.structure.plan import Plan

CODE = "the model's own code does not run with fewer of them ({error})"
POSITIONS = "the model's own code relies on their number or order: without some of them it computes something else"


AnyAxis = TypeVar("AnyAxis", bound=Axis)


@dataclass(frozen=True)
class Failure:
    """Why a model without some units is not the masked one, and the path of the module that was running.

    `hopeless` has the modules whose code could not be taken over, `code` what the first of them does.
    """

    reason: str
    module: str = ""
    hopeless: tuple[str, ...] = ()
    code: str = ""


def verify_groups(model: nn.Module, groups: Groups) -> Groups:
    """The groups that can be removed from; the others are fixed, with the error that they cause as the reason.

    A part of the units of every group is removed at once. A module that fails, with all others of its class, has
    its code taken over from the graph (`traced`). Where that is not enough, halves of the groups are tried until
    those to blame are found. Groups of which a mistake would not be seen are told (`Groups.unverifiable`).
    """
    plain = replace(groups, architecture=groups.fingerprint())
    groups, blamed = plain, dict[str, str]()
    hopeless: set[str] = set()
    took_all = False
    while rest := [group for group in groups if group.name not in blamed]:
        failure = _compared(model, groups, rest)
        if isinstance(failure, Comparison):
            hidden = unverifiable([group.name for group in rest], failure.sensitivity(), MARGIN * failure.tolerance)
            groups = replace(groups, unverifiable=hidden)
            break
        if failure.hopeless and (found := _in_the_way(model, groups, rest, failure)):
            blamed.update(found)
            continue
        if failure.hopeless:
            hopeless.update(failure.hopeless)
            groups = replace(groups, adapted=tuple(name for name in groups.adapted if name not in hopeless))
            continue
        adapted = _adapted(model, groups, failure, took_all, hopeless)
        took_all = took_all or not failure.module
        if len(adapted) > len(groups.adapted):
            groups = replace(groups, adapted=adapted)
        else:
            found = _to_blame(model, groups, rest, failure)
            blamed.update({**_alike(model, groups, found, failure.module), **found})
    return _without(groups, blamed) if blamed else groups


KINDS_IN_THE_WAY: tuple[tuple[Kind, ...], ...] = (
    ("qk_dim",),
    ("v_dim",),
    ("qk_dim", "v_dim"),
    ("qk_dim", "v_dim", "head"),
)
"""What is left alone, one after the other, so that code can be taken over for everything else."""


def _in_the_way(model: nn.Module, groups: Groups, some: Sequence[Group], failure: Failure) -> dict[str, str]:
    """Dimensions of heads without which the code of more modules can be taken over, with the reason; none for most.

    Code that treats several heads, or queries, keys and values, as one tensor needs the same number of each.
    """
    tried: set[tuple[str, ...]] = {()}
    for kinds in KINDS_IN_THE_WAY:
        chosen = {
            group.name: str(CodeError(module, failure.code))
            for module in failure.hopeless
            for group in some
            if group.kind in kinds and any(_near(part.tensor, module) for part in group.slices)
        }
        if tuple(chosen) in tried:
            continue
        tried.add(tuple(chosen))
        rest = [group for group in some if group.name not in chosen]
        again = _compared(model, groups, rest) if rest else None
        left = set(again.hopeless) if isinstance(again, Failure) else set()
        if again is not None and left < set(failure.hopeless):
            return {
                name: reason
                for name, reason in chosen.items()
                if not any(_near(part.tensor, module) for module in left for part in groups.named(name).slices)
            }
    return {}


def _adapted(model: nn.Module, groups: Groups, failure: Failure, took_all: bool, hopeless: set[str]) -> tuple[str, ...]:
    """The modules whose code is taken over now: those that were, and those that may have caused the failure.

    A layer that fails was called wrongly by the module around it. A model that runs and computes something else has
    some module that cuts at a fixed position: all that have code of their own may be it.
    """
    assert groups.traced is not None  # for the type checker: `find_groups` has just set it
    modules = {name: module for name, module in model.named_modules() if name not in hopeless}
    found = set(groups.adapted)
    if not failure.module:
        if not took_all:
            found |= {name for name, module in modules.items() if _takes_over(groups, name, module)}
    else:
        name = failure.module
        while name and (name in found or name not in modules or not _takes_over(groups, name, modules[name])):
            name = name.rpartition(".")[0]
        if name:
            kind = type(modules[name])
            found |= {
                other
                for other, module in modules.items()
                if type(module) is kind and _takes_over(groups, other, module)
            }
    return tuple(name for name in modules if name in found)


def _takes_over(groups: Groups, name: str, module: nn.Module) -> bool:
    """Whether a module is one whose code can be taken over: not the whole model, and no single layer."""
    assert groups.traced is not None  # for the type checker: see `_adapted`
    if not name or (not any(True for _ in module.children()) and not any(True for _ in module.parameters())):
        return False
    return not isinstance(module, _LAYERS) and groups.traced.own_code(name)


_LAYERS = (nn.Linear, nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)


def _without(groups: Groups, blamed: dict[str, str]) -> Groups:
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


def _to_blame(model: nn.Module, groups: Groups, some: Sequence[Group], failure: Failure) -> dict[str, str]:
    """The groups among `some` that cannot be removed from, with the reason; `failure` is what all together caused."""
    near = [group for group in some if any(_near(part.tensor, failure.module) for part in group.slices)]
    if failure.module and 0 < len(near) < len(some):
        again = _compared(model, groups, near)
        if isinstance(again, Failure):
            return _to_blame(model, groups, near, replace(again, module=""))
    if len(some) == 1:
        return {some[0].name: failure.reason}
    half = len(some) // 2
    found: dict[str, str] = {}
    for part in (some[:half], some[half:]):
        again = _compared(model, groups, part)
        if isinstance(again, Failure):
            found |= _to_blame(model, groups, part, again)
    return found or {some[-1].name: failure.reason}  # they disagree only with one another


def _alike(model: nn.Module, groups: Groups, found: dict[str, str], module: str) -> dict[str, str]:
    """The groups at the same place of other modules of the class that failed: the reason is the same."""
    if not module:
        return {}
    kind = type(model.get_submodule(module))
    alike = [name for name, other in model.named_modules() if type(other) is kind]
    places = {
        (group.kind, inner): reason
        for name, reason in found.items()
        for group in [groups.named(name)]
        if (inner := _inside(group, module))
    }
    return {
        group.name: places[group.kind, inner]
        for other in alike
        for group in groups
        if (group.kind, (inner := _inside(group, other))) in places
    }


def _inside(group: Group, module: str) -> frozenset[str]:
    """The names within a module of the tensors that a group has there."""
    return frozenset(part.tensor.removeprefix(f"{module}.") for part in group.slices if _near(part.tensor, module))


def _near(tensor: str, module: str) -> bool:
    return f"{tensor}.".startswith(f"{module}.")


def _compared(model: nn.Module, groups: Groups, some: Sequence[Group]) -> Failure | Comparison:
    """What is wrong with a model that lacks a part of these groups' units; the comparison when it is the masked one."""
    kept = {group.name: _some_gone(group, 3 + groups.index(group) % 3) for group in some}
    plan = Plan(kept, groups.fingerprint(), groups.inputs)
    running: list[str] = []
    try:
        small = cut(model, groups, plan)
        comparison = compare(model, small, groups, plan, least=1, watching=lambda copied: _watched(copied, running))
    except CodeError as error:
        return Failure(str(error), "", error.modules, error.reason)
    except Exception as error:  # whatever a model's code raises is the reason why it cannot be pruned there
        message = " ".join(str(error).split())[:160]
        return Failure(CODE.format(error=message), running[-1] if running else "")
    return comparison if comparison.agrees else Failure(POSITIONS)


@contextmanager
def _watched(model: nn.Module, running: list[str]) -> Iterator[None]:
    """Keeps in `running` the paths of the modules that are being called, outermost first, also after an error."""
    names = {module: name for name, module in model.named_modules()}
    running.clear()

    def before(module: nn.Module, _inputs: Any) -> None:
        if module in names:
            running.append(names[module])

    def after(module: nn.Module, _inputs: Any, _output: Any) -> None:
        if module in names:
            running.pop()

    handles = [register_module_forward_pre_hook(before), register_module_forward_hook(after)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


STEPS: dict[Kind, int] = {"qk_dim": 3, "v_dim": 5}
"""Of heads more query/key than value dimensions go, since code may expect the same number of both."""


def _some_gone(group: Group, step: int) -> tuple[int, ...]:
    """Every third (fourth, fifth) unit gone, as many of each block but others; neighbouring groups keep other shares.

    Code that takes one head's dimensions for another's would go unnoticed if the same ones of every head went. Where
    there are no blocks, more of the first half go: code that expects the same number of each part would fail later.
    """
    width = group.units // group.blocks
    units = {*range(1, width, STEPS.get(group.kind, step))}
    if group.kind == "v_dim" and width > 2 and len(units) == len(range(1, width, STEPS["qk_dim"])):
        units.add(2)  # heads so narrow that as many of both would go
    gone = {b * width + (unit + b) % width for b in range(group.blocks) for unit in units}
    if group.blocks == 1:
        gone -= set(sorted(gone)[(len(gone) + 1) // 2 :: 2])
    return tuple(unit for unit in range(group.units) if unit not in gone)
