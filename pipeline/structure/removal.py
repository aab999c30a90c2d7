"""A first removal from every group, and why it fails where a model's own code cannot do without some units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from secateur.pipeline.structure.codegen.calls import CodeError
from secateur.pipeline.structure.comparison import Comparison, compare
from secateur.pipeline.structure.cutting import cut
from secateur.pipeline.structure.graph.program import place_in_code
from secateur.pipeline.structure.groups import Group, Groups, Kind
from secateur.pipeline.structure.plan import Plan

CODE = "the model's own code does not run with fewer of them{place}"
POSITIONS = "the model's own code relies on their number or order: without some of them it computes something else"


@dataclass(frozen=True)
class Failure:
    """Why a model without some units is not the masked one.

    `module` is the path of the module that was running when an error came, None where none did and the model computes
    something else. `hopeless` has the modules whose code could not be taken over, each with the reason.
    """

    reason: str
    module: str | None = None
    hopeless: Mapping[str, str] = field(default_factory=dict)


def compared(model: nn.Module, groups: Groups, some: Sequence[Group]) -> Failure | Comparison:
    """What is wrong with a model that lacks a part of these groups' units; the comparison when it is the masked one."""
    kept = {group.name: some_gone(group, 3 + groups.index(group) % 3) for group in some}
    plan = Plan(kept, groups.fingerprint(), groups.inputs)
    running: list[str] = []
    try:
        small = cut(model, groups, plan)
        comparison = compare(model, small, groups, plan, least=1, watching=lambda copied: _watched(copied, running))
    except CodeError as error:
        return Failure(str(error), None, error.reasons)
    except Exception as error:  # whatever a model's code raises is the reason why it cannot be pruned there
        return Failure(CODE.format(place=place_in_code(error, whole=False)), running[-1] if running else None)
    return comparison if comparison.agrees else Failure(POSITIONS)


_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)
_LAYERS = (nn.Linear, nn.Bilinear, nn.modules.conv._ConvNd, nn.RNNBase, nn.RNNCellBase, *_NORMS)


def takes_over(groups: Groups, name: str, module: nn.Module) -> bool:
    """Whether a module is one whose code can be taken over: no single layer, and with code of its own."""
    assert groups.traced is not None  # for the type checker: `find_groups` has just set it
    if not any(True for _ in module.children()) and not any(True for _ in module.parameters()):
        return False
    return not isinstance(module, _LAYERS) and groups.traced.own_code(name)


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


def some_gone(group: Group, step: int) -> tuple[int, ...]:
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
