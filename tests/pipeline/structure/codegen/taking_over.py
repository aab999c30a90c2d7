"""Modules whose code is taken over: what the tests of the code writer start from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from secateur.pipeline.structure.codegen.written_module import WrittenModule
from secateur.pipeline.structure.cutting import cut
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Group, Groups
from secateur.pipeline.structure.masking import masked
from secateur.pipeline.structure.plan import Plan, plan_from_kept
from secateur.pipeline.structure.verification_weights import VerificationWeights


class Code(nn.Module):
    """A function of a module and of what it is called with, and the layers that it uses."""

    def __init__(self, function: Callable[..., Any], **layers: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


class Around(nn.Module):
    """A module between two layers: what the first makes and what the last reads may go."""

    def __init__(self, first: nn.Module, inner: nn.Module, last: nn.Module) -> None:
        super().__init__()
        self.first, self.inner, self.last = first, inner, last

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.inner(self.first(x)))
        return out


@dataclass(frozen=True)
class TakenOver:
    """A pruned model whose inner module's code was taken over, and the dense one with the removed units masked."""

    small: nn.Module
    reference: nn.Module
    groups: Groups
    plan: Plan

    @property
    def width(self) -> int:
        """How many features the first layer still makes."""
        return int(self.small.get_parameter("first.weight").shape[0])

    @property
    def inner(self) -> nn.Module:
        return self.small.get_submodule("inner")


def some(group: Group, step: int) -> list[int]:
    """The units of a group without every `step`-th of each block, beginning with others in each block."""
    width = group.units // group.blocks
    gone = {block * width + (unit + block) % width for block in range(group.blocks) for unit in range(0, width, step)}
    return [unit for unit in range(group.units) if unit not in gone]


def take_over(model: nn.Module, example: Tensor, *modules: str, step: int = 3, but: tuple[str, ...] = ()) -> TakenOver:
    """The model without some units of every group but some kinds, the code of `modules` taken over."""
    torch.manual_seed(0)
    model.eval()
    groups = replace(find_groups(model, example, verify=False), adapted=modules or ("inner",))
    plan = plan_from_kept(groups, {group.name: some(group, step) for group in groups if group.kind not in but})
    small = cut(model, groups, plan).eval()
    return TakenOver(small, masked(model, groups, plan, VerificationWeights()).eval(), groups, plan)


def check(found: TakenOver, example: Tensor) -> None:
    """For several batches the pruned model computes what the masked one does, by code of its own."""
    assert isinstance(found.inner, WrittenModule), "the code was not taken over"
    for batch in (1, 2, 5):
        x = torch.randn(batch, *example.shape[1:])
        with torch.no_grad():
            torch.testing.assert_close(found.small(x), found.reference(x), rtol=1e-4, atol=1e-5)
